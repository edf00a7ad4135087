/* The configuration as slots see it; see worker_options.h. Any thread. */
#include "tasks/runner/slots/slot_options.h"

#include "tasks/runner/slots/proto.h"

/* What stays with the parent. */
static bool is_private(const char *key)
{
    static const char *const keys[] = {"redis.url", "celery.broker_url", "celery.result_backend",
                                       "jwt.key_file"};
    for (size_t i = 0; i < NELEMS(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static void pack_text(struct buf *to, const char *key, const char *text)
{
    slot_put_span(to, is_private(key) ? SPAN("") : span_of(text));
}

static char *unpack_text(struct slot_fields *from)
{
    struct span text = slot_get_span(from);
    return text.p ? xstrndup(text.p, text.n) : NULL;
}

void options_pack(const struct options *options, struct buf *to)
{
#define OPTION_STRING(key, member, default_, flags, alias, help) pack_text(to, key, options->member);
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)                                      \
    slot_put_u64(to, (uint64_t)options->member);
#define OPTION_BOOL(key, member, default_, flags, alias, help) slot_put_u32(to, options->member);
#include "hub/config/options.def"
#undef OPTION_STRING
#undef OPTION_INT
#undef OPTION_BOOL
}

bool options_unpack(struct span packed, struct options *ret)
{
    struct slot_fields from = {packed, false};
    struct options options;
    memset(&options, 0, sizeof options);
#define OPTION_STRING(key, member, default_, flags, alias, help) options.member = unpack_text(&from);
#define OPTION_INT(key, member, default_, min, max, flags, alias, help)                                      \
    options.member = (int64_t)slot_get_u64(&from);
#define OPTION_BOOL(key, member, default_, flags, alias, help) options.member = slot_get_u32(&from) != 0;
#include "hub/config/options.def"
#undef OPTION_STRING
#undef OPTION_INT
#undef OPTION_BOOL
    if (!slot_fields_end(&from)) {
        options_free(&options);
        return false;
    }
    *ret = options;
    return true;
}
