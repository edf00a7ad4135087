/* SPDX-License-Identifier: MIT */
/* HTTP on the hub's port: the page, health, readiness, metrics, and the answers to upgrades. Loop thread
 * only. A response is built as a whole; hub/net/exchange.c sends it. The page's files are embedded in the
 * program, or read from the directory web_root during development: that read blocks. */
#include "hub/base/file.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/embed.h"
#include "hub/net/address.h"
#include "hub/net/server_private.h"

#include <ctype.h>
#include <limits.h>
#include <openssl/sha.h>
#include <sodium.h>
#include <sys/stat.h>

static const char security_headers[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'\r\n"
    "Permissions-Policy: microphone=(self)\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cache-Control: no-cache\r\n";

static const char *status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } rows[] = {
        {200, "OK"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {411, "Length Required"},
        {426, "Upgrade Required"},
        {431, "Request Header Fields Too Large"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Error";
}

/* ---- answers ------------------------------------------------------------------------------------- */
struct http_answer {
    unsigned status;
    const char *type;   /* media type */
    struct span body;   /* borrowed until sent */
    const char *etag;   /* quoted, or NULL */
    const char *header; /* one more header line with its CR LF, or NULL */
    bool head;          /* omit the body */
};

static void write_answer(struct http_reply *reply, const struct http_answer *answer)
{
    struct buf *out = &reply->out;
    buf_printf(out, "HTTP/1.1 %u %s\r\n", answer->status, status_text(answer->status));
    buf_append(out, security_headers, sizeof security_headers - 1);
    if (answer->type)
        buf_printf(out, "Content-Type: %s\r\n", answer->type);
    if (answer->etag)
        buf_printf(out, "ETag: %s\r\n", answer->etag);
    if (answer->header)
        buf_append_text(out, answer->header);
    if (reply->close)
        buf_append_text(out, "Connection: close\r\n");
    if (answer->status != 304)
        buf_printf(out, "Content-Length: %zu\r\n", answer->body.n);
    buf_append_text(out, "\r\n");
    if (!answer->head && answer->status != 304)
        buf_append_span(out, answer->body);
}

static bool answer_ok(struct http_answer *ret, const char *type, struct span body)
{
    *ret = (struct http_answer){.status = 200, .type = type, .body = body};
    return true;
}

/* Writes the answer to a refused request, which ends the connection. */
static void write_error(struct http_reply *reply, struct guard_verdict verdict)
{
    char text[256];
    int n =
        snprintf(text, sizeof text, "{\"detail\":\"%s\",\"code\":\"%s\"}\n", verdict.detail, verdict.code);
    struct http_answer answer = {
        .status = verdict.status, .type = "application/json", .body = {text, (size_t)n}, .head = reply->head};
    if (verdict.status == 426)
        answer.header = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    if (verdict.status == 401)
        answer.header = "WWW-Authenticate: Bearer\r\n";
    if (verdict.status == 405)
        answer.header = "Allow: GET, HEAD\r\n";
    reply->close = true;
    write_answer(reply, &answer);
}

#define VALUE_MAX 512 /* most bytes of a header value that is checked and came on several lines */

struct route_request {
    struct server *server;
    struct span path;
    struct buf *hold; /* owns a body that is built for this answer */
};

/* ---- the files of the page ------------------------------------------------------------------------- */
#define FILE_BYTES_MAX 8388608

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/vnd.microsoft.icon"},
    {".json", "application/json"},
    {".wav", "audio/wav"},
    {".ts", "text/plain; charset=utf-8"},
    {".txt", "text/plain; charset=utf-8"},
};

static const char *type_of(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < NELEMS(types); i++) {
        size_t m = strlen(types[i].suffix);
        if (n > m && strcmp(name + n - m, types[i].suffix) == 0)
            return types[i].type;
    }
    return NULL;
}

/* Whether a file of this name may be read: no hidden files, no parent directories. */
static bool name_valid(struct span name)
{
    if (name.n == 0 || name.n > 200)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool start = i == 0 || name.p[i - 1] == '/';
        if (!isalnum((unsigned char)c) && (start || strchr("._-/", c) == NULL))
            return false;
    }
    return true;
}

static bool read_file(const char *path, struct buf *to)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    ssize_t n = file_read(path, buf_reserve(to, FILE_BYTES_MAX), FILE_BYTES_MAX);
    to->len = n < 0 ? 0 : (size_t)n;
    return n >= 0;
}

/* Reads a file that is, with links resolved, below the directory. */
static bool from_directory(const char *root, const char *name, struct buf *hold, struct http_answer *ret)
{
    char base[PATH_MAX], path[PATH_MAX], real[PATH_MAX];
    const char *type = type_of(name);
    if (type == NULL || realpath(root, base) == NULL)
        return false;
    size_t n = strlen(base);
    if (snprintf(path, sizeof path, "%s/%s", base, name) >= (int)sizeof path || realpath(path, real) == NULL)
        return false;
    if (strncmp(real, base, n) != 0 || real[n] != '/' || !read_file(real, hold))
        return false;
    return answer_ok(ret, type, buf_span(hold));
}

static bool find(const struct route_request *request, struct span name, struct http_answer *ret)
{
    const char *root = request->server->config.options->web_root;
    char text[256];
    if (!name_valid(name))
        return false;
    snprintf(text, sizeof text, "%.*s", SPAN_ARG(name));
    if (root && root[0])
        return from_directory(root, text, request->hold, ret);
    const struct embed *file = embed_find(name);
    if (file == NULL)
        return false;
    *ret = (struct http_answer){.status = 200, .type = file->type, .body = file->data, .etag = file->etag};
    return true;
}

/* Pages of any origin may load the client library; the Origin of a connection is still checked. */
#define OPEN_TO_PAGES                                                                                        \
    "Access-Control-Allow-Origin: *\r\n"                                                                     \
    "Cross-Origin-Resource-Policy: cross-origin\r\n"

static bool route_library(const struct route_request *request, struct http_answer *answer)
{
    struct span name = {request->path.p + 1, request->path.n - 1};
    if (!find(request, name, answer))
        return false;
    answer->header = OPEN_TO_PAGES;
    return true;
}

static bool route_page(const struct route_request *request, struct http_answer *answer)
{
    char name[256];
    struct span path = request->path.n == 1 ? SPAN("/index.html") : request->path;
    int n = snprintf(name, sizeof name, "app%.*s", SPAN_ARG(path));
    return n < (int)sizeof name && find(request, span_of(name), answer);
}

/* ---- routes ------------------------------------------------------------------------------------------ */
static bool route_healthz(const struct route_request *request, struct http_answer *answer)
{
    (void)request;
    return answer_ok(answer, "application/json", SPAN("{\"ok\":true}\n"));
}

static bool route_readyz(const struct route_request *request, struct http_answer *answer)
{
    const struct server_config *config = &request->server->config;
    struct buf members CLEANUP(buf_free) = BUF_INIT;
    bool draining = request->server->draining;
    bool ready = !draining && (config->ready == NULL || config->ready(config->app, &members));
    if (draining)
        buf_append_text(&members, "\"reasons\":{\"hub\":\"draining\"}");
    buf_printf(request->hold, "{\"ready\":%s%s%.*s}\n", ready ? "true" : "false", members.len ? "," : "",
               SPAN_ARG(buf_span(&members)));
    *answer = (struct http_answer){
        .status = ready ? 200 : 503, .type = "application/json", .body = buf_span(request->hold)};
    return true;
}

static bool route_metrics(const struct route_request *request, struct http_answer *answer)
{
    metrics_write(request->hold);
    return answer_ok(answer, "text/plain; version=0.0.4; charset=utf-8", buf_span(request->hold));
}

/* The answers over HTTP: the first row that has one for the path is used. */
static const struct route {
    const char *path;
    bool below; /* also paths that begin with it */
    bool (*run)(const struct route_request *request, struct http_answer *answer); /* false: not found */
} routes[] = {
    {"/healthz", false, route_healthz}, {"/readyz", false, route_readyz}, {"/metrics", false, route_metrics},
    {"/sdk/", true, route_library},     {"/", true, route_page},
};

static bool leads_to(struct span path, const struct route *route)
{
    size_t n = strlen(route->path);
    return (route->below ? path.n >= n : path.n == n) && memcmp(path.p, route->path, n) == 0;
}

/* Whether requests for this Host are answered. */
static bool host_allowed(const struct server *server, const struct guard_request *request)
{
    if (server->hosts == NULL || guard_host(request->host, server->hosts))
        return true;
    char host[256];
    snprintf(host, sizeof host, "%.*s", SPAN_ARG(request->host));
    log_warn("a request to another name was refused; the option http.hosts says which are served", "host",
             host);
    return false;
}

/* Whether the request comes from this machine, and no proxy header says that it was forwarded. */
static bool comes_from_here(const struct http_request *request)
{
    char value[VALUE_MAX];
    return address_is_local(span_of(peer_address(request->peer))) &&
           head_value(request->head, "x-forwarded-for", value, sizeof value).p == NULL &&
           head_value(request->head, "forwarded", value, sizeof value).p == NULL;
}

/* Checks a request for what not everybody may read: /metrics. */
static struct guard_verdict check_reader(const struct http_request *request)
{
    char value[VALUE_MAX];
    if (!span_is(request->head->path, "/metrics"))
        return (struct guard_verdict){.status = 0};
    return guard_metrics(head_value(request->head, "authorization", value, sizeof value),
                         request->server->metrics_token, comes_from_here(request));
}

static bool find_answer(const struct route_request *request, struct http_answer *answer)
{
    for (size_t i = 0; i < NELEMS(routes); i++)
        if (leads_to(request->path, &routes[i]) && routes[i].run(request, answer))
            return true;
    return false;
}

/* ---- requests ------------------------------------------------------------------------------------- */
struct fields { /* a request and the memory of its header values that came on several lines */
    struct guard_request request;
    char host[256], upgrade[64], version[16], key[64], origin[VALUE_MAX], protocols[VALUE_MAX];
    char transfer_encoding[64], content_length[32];
};

static void read_fields(const struct head *head, struct fields *fields)
{
    struct guard_request *request = &fields->request;
    request->get = span_is(head->method, "GET");
    request->head = span_is(head->method, "HEAD");
    request->path = head->path;
    request->http = head->version;
#define READ(member, name) request->member = head_value(head, name, fields->member, sizeof fields->member)
    READ(host, "host");
    READ(upgrade, "upgrade");
    READ(version, "sec-websocket-version");
    READ(key, "sec-websocket-key");
    READ(origin, "origin");
    READ(protocols, "sec-websocket-protocol");
    READ(transfer_encoding, "transfer-encoding");
    READ(content_length, "content-length");
#undef READ
}

bool http_is_probe(const struct head *head)
{
    return span_is(head->path, "/healthz") || span_is(head->path, "/readyz");
}

static const struct guard_verdict no_place = {503, "busy", "This hub has no place for more connections"};

/* Writes the answer to an accepted upgrade; Sec-WebSocket-Accept: RFC 6455 §4.2.2. */
static void write_switch(struct http_reply *reply, const struct guard_request *request)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[64], proof[32];
    unsigned char digest[SHA_DIGEST_LENGTH];
    int n = snprintf(text, sizeof text, "%.*s%s", SPAN_ARG(request->key), magic);
    SHA1((const unsigned char *)text, (size_t)n, digest);
    sodium_bin2base64(proof, sizeof proof, digest, sizeof digest, sodium_base64_VARIANT_ORIGINAL);
    buf_printf(&reply->out,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n%s\r\n",
               proof, request->protocols.p ? "Sec-WebSocket-Protocol: " GUARD_PROTOCOL "\r\n" : "");
}

bool http_upgrade(const struct http_request *request, struct http_reply *reply)
{
    struct fields fields;
    read_fields(request->head, &fields);
    reply->head = fields.request.head;
    struct guard_verdict verdict = guard_upgrade(&fields.request, request->server->origins);
    if (verdict.status == 0 && request->server->draining)
        verdict = (struct guard_verdict){503, "draining", "This hub is going away"};
    if (verdict.status == 0 && request->place == HTTP_NO_PLACE)
        verdict = no_place;
    if (verdict.status == 0) {
        write_switch(reply, &fields.request);
        return true;
    }
    if (strcmp(verdict.code, "origin") == 0) {
        char origin[128];
        snprintf(origin, sizeof origin, "%.*s", SPAN_ARG(fields.request.origin));
        log_warn("a page of another origin was refused; the option origins says which are allowed", "origin",
                 origin);
    } else {
        log_debug("upgrade refused", "code", verdict.code);
    }
    write_error(reply, verdict);
    return false;
}

/* ---- bodies, which nothing here wants --------------------------------------------------------------- */
#define BODY_READ_MAX 16777216 /* most bytes of a body that are read and discarded */

/* Has the body read: most clients read the answer only after sending everything, and closing earlier would
 * reset the connection and lose the answer. Who expects leave to send it may or may not send it after a
 * final answer: what comes is no request then. */
static void expect_body(const struct http_request *request, struct span length, struct http_reply *reply)
{
    size_t bytes = 0;
    for (size_t i = 0; i < length.n; i++)
        bytes = bytes * 10 + (size_t)(length.p[i] - '0');
    char value[VALUE_MAX];
    bool asks = bytes && head_value(request->head, "expect", value, sizeof value).p;
    reply->body = bytes < BODY_READ_MAX ? bytes : BODY_READ_MAX;
    reply->close |= asks || bytes > BODY_READ_MAX || request->place != HTTP_STAYS;
    if (request->place != HTTP_STAYS)
        reply->body = 0;
}

/* Checks a request, whatever it asks for. */
static struct guard_verdict check(const struct http_request *request, const struct guard_request *fields)
{
    struct guard_verdict verdict = guard_body(fields);
    if (verdict.status == 0 && request->place == HTTP_NO_PLACE)
        verdict = no_place;
    return verdict;
}

/* Checks whether the client may ask for this. */
static struct guard_verdict check_right(const struct http_request *request,
                                        const struct guard_request *fields)
{
    if (span_is(request->head->method, "CONNECT"))
        return (struct guard_verdict){405, "method", "Method not allowed"};
    if (!http_is_probe(request->head) && !host_allowed(request->server, fields))
        return (struct guard_verdict){403, "host", "This name is not served (option http.hosts)"};
    return check_reader(request);
}

void http_answer(const struct http_request *request, struct http_reply *reply)
{
    char value[VALUE_MAX];
    struct fields fields;
    struct http_answer answer;
    struct buf hold CLEANUP(buf_free) = BUF_INIT;
    read_fields(request->head, &fields);
    reply->head = fields.request.head;
    struct guard_verdict verdict = check(request, &fields.request);
    if (verdict.status) {
        reply->body = request->place == HTTP_STAYS ? BODY_READ_MAX : 0;
        write_error(reply, verdict);
        return;
    }
    expect_body(request, fields.request.content_length, reply);
    verdict = check_right(request, &fields.request);
    if (verdict.status) {
        write_error(reply, verdict);
    } else if (!find_answer(&(struct route_request){request->server, request->head->path, &hold}, &answer)) {
        write_error(reply, guard_plain(&fields.request));
    } else if (!fields.request.get && !fields.request.head) {
        write_error(reply, (struct guard_verdict){405, "method", "Method not allowed"});
    } else {
        struct span known = head_value(request->head, "if-none-match", value, sizeof value);
        if (answer.etag && span_is(known, answer.etag))
            answer.status = 304;
        answer.head = reply->head;
        reply->close |= !span_is(request->head->version, "HTTP/1.1") ||
                        head_lists(head_value(request->head, "connection", value, sizeof value), "close");
        write_answer(reply, &answer);
    }
}

void http_no_request(bool too_long, struct http_reply *reply)
{
    static const struct guard_verdict verdicts[] = {{400, "head", "This is no request of HTTP/1.1"},
                                                    {431, "head", "The head of a request has up to 12 KiB"}};
    write_error(reply, verdicts[too_long]);
    reply->body = BODY_READ_MAX;
}
