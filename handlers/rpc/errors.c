/* SPDX-License-Identifier: MIT */
/* Error objects: the words, HTTP statuses and texts of protocol.md's table. Loop thread; no state. */
#include "handlers/rpc/rpc.h"

#include "hub/json/json_write.h"

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

void error_write(struct buf *to, const struct request_error *error)
{
    const struct row *row = &rows[0];
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (rows[i].code == error->code)
            row = &rows[i];
    buf_append_char(to, '{');
    json_member_int(to, "code", row->code);
    json_member_text(to, "message", span_of(error->message ? error->message : row->message));
    json_member_raw(to, "data", SPAN("{"), "");
    json_member_text(to, "code", span_of(error->word ? error->word : row->word));
    json_member_int(to, "status", row->status);
    if (error->field)
        json_member_text(to, "field", span_of(error->field));
    if (error->retry_ms)
        json_member_int(to, "retry_ms", (int64_t)error->retry_ms);
    if (error->most) {
        json_member_int(to, "used", (int64_t)error->used);
        json_member_int(to, "limit", (int64_t)error->most);
    }
    buf_append_text(to, "}}");
}
