/* The engine `slots`: slots.h in the words of tasks/runner/engine.h. Loop thread. */
#include "tasks/runner/slots/slots.h"

struct slot_run {
    struct run run;
    struct slot_job job;
};

static const struct engine_hooks *hooks;

static struct run *run_of(struct slot_job *job)
{
    return &container_of(job, struct slot_run, job)->run;
}

static struct slot_job *job_of(struct run *run)
{
    return &container_of(run, struct slot_run, run)->job;
}

/* ---- what jobs say ------------------------------------------------------------------------------- */

static void on_started(struct slot_job *job)
{
    hooks->started(run_of(job));
}

static void on_update(struct slot_job *job, const struct queue_update *update)
{
    hooks->update(run_of(job), update);
}

static void on_call(struct slot_job *job, uint32_t call, const char *service, struct span args)
{
    hooks->call(run_of(job), call, service, args);
}

static void on_audio_taken(struct slot_job *job, uint64_t total)
{
    hooks->audio_taken(run_of(job), total);
}

/* Moves the texts of the end into one that stays. */
static char *keep_texts(struct queue_end *end)
{
    struct span *const spans[] = {&end->result, &end->error_code, &end->error};
    size_t size = end->result.n + end->error_code.n + end->error.n;
    char *text = size ? xmalloc(size) : NULL, *at = text;
    for (size_t i = 0; i < NELEMS(spans); i++) {
        if (spans[i]->n == 0)
            continue;
        memcpy(at, spans[i]->p, spans[i]->n);
        spans[i]->p = at;
        at += spans[i]->n;
    }
    return text;
}

static void on_ended(struct slot_job *job, const struct queue_end *end)
{
    if (end == NULL) {
        hooks->ended(run_of(job), NULL, NULL);
        return;
    }
    struct queue_end kept = *end;
    bool empty = end->error_code.n + end->error.n == 0 && span_is(end->result, "{}");
    if (empty)
        kept.result = SPAN("{}");
    char *text = empty ? NULL : keep_texts(&kept);
    hooks->ended(run_of(job), &kept, text);
}

static void on_returned(struct slot_job *job)
{
    hooks->returned(run_of(job));
}

/* ---- the table ----------------------------------------------------------------------------------- */

static void *start(const struct engine_config *config)
{
    const struct slots_hooks slots = {on_started, on_update, on_call, on_audio_taken, on_ended, on_returned};
    hooks = config->hooks;
    return slots_new(&(struct slots_config){config->loop, config->options, slots});
}

static void stop(void *self)
{
    struct slots *slots = self;
    slots_free(&slots);
}

static unsigned room(void *self, unsigned lane)
{
    return slots_room(self, lane);
}

static bool give(void *self, unsigned lane, struct run *run)
{
    (void)lane;
    *job_of(run) = (struct slot_job){.type = run->type,
                                     .id = run->id,
                                     .owner = run->owner,
                                     .fence = run->fence,
                                     .attempt = run->attempt,
                                     .args = run->args};
    slots_give(self, job_of(run));
    return true;
}

static void cancel(void *self, struct run *run, enum run_stop why)
{
    struct slot_job *job = job_of(run);
    slots_stop(self, job, why);
}

static void health(const void *self, unsigned lane, struct engine_health *ret)
{
    *ret = (struct engine_health){.busy = slots_busy(self, lane), .total = slots_total(self, lane)};
}

static void answer(void *self, struct run *run, uint32_t call, struct span json)
{
    (void)self;
    if (job_of(run)->proc)
        slots_answer(job_of(run), call, json);
}

static void audio(void *self, struct run *run, struct span bytes, bool last)
{
    (void)self;
    struct slot_job *job = job_of(run);
    if (job->proc == NULL)
        return;
    if (bytes.n)
        slots_audio(job, bytes);
    if (last)
        slots_audio_end(job);
}

static const char *const queues[] = {"default", "live", NULL};

const struct engine slots_engine = {
    .name = "slots",
    .run_size = sizeof(struct slot_run),
    .queues = queues,
    .start = start,
    .stop = stop,
    .room = room,
    .give = give,
    .cancel = cancel,
    .health = health,
    .answer = answer,
    .audio = audio,
};
