/* Error objects: the words, HTTP statuses and texts of protocol.md's table. Loop thread; no state. */
#include "handlers/rpc/rpc.h"

static const struct row {
    enum rpc_code code;
    unsigned status; /* HTTP */
    const char *word, *message;
} rows[] = {
    {RPC_INTERNAL, 500, "internal", "Internal error"},
    {RPC_PARSE, 400, "parse_error", "Parse error"},
    {RPC_REQUEST, 400, "invalid_request", "Invalid request"},
    {RPC_METHOD, 404, "method_not_found", "Method not found"},
    {RPC_PARAMS, 422, "invalid_params", "Invalid params"},
    {RPC_UNAUTHENTICATED, 401, "unauthenticated", "Not authenticated"},
    {RPC_FORBIDDEN, 403, "forbidden", "Access denied"},
    {RPC_NOT_FOUND, 404, "not_found", "Task not found"},
    {RPC_CONFLICT, 409, "conflict", "Not possible in the task's state"},
    {RPC_TOO_LARGE, 413, "too_large", "Too large"},
    {RPC_MEDIA, 415, "unsupported_media", "Unsupported media"},
    {RPC_USER_LIMIT, 429, "user_limit", "Too many requests"},
    {RPC_BUSY, 503, "busy", "Server is busy, please try again later"},
};

const struct request_error error_unavailable = {.code = RPC_BUSY, .word = "unavailable", .retry_ms = 1000};

void error_write(struct buf *to, const struct request_error *error)
{
    const struct row *row = &rows[0];
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (rows[i].code == error->code)
            row = &rows[i];
    buf_append_text(to, "{\"code\":");
    buf_append_i64(to, row->code);
    buf_append_text(to, ",\"message\":");
    buf_append_json(to, span_of(error->message ? error->message : row->message));
    buf_append_text(to, ",\"data\":{\"code\":");
    buf_append_json(to, span_of(error->word ? error->word : row->word));
    buf_append_text(to, ",\"status\":");
    buf_append_u64(to, row->status);
    if (error->field) {
        buf_append_text(to, ",\"field\":");
        buf_append_json(to, span_of(error->field));
    }
    if (error->retry_ms) {
        buf_append_text(to, ",\"retry_ms\":");
        buf_append_u64(to, error->retry_ms);
    }
    buf_append_text(to, "}}");
}
