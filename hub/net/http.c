/* SPDX-License-Identifier: MIT */
/* HTTP on the hub's port: the page, health, readiness, metrics, and errors for requests that may not upgrade.
 * Loop thread only. A response is built as a whole and sent in one write; libwebsockets buffers what the
 * socket does not take at once. The page's files are embedded in the program, or read from the directory
 * web_root during development: that read blocks. */
#include "hub/base/file.h"
#include "hub/base/log.h"
#include "hub/base/metrics.h"
#include "hub/config/embed.h"
#include "hub/net/address.h"
#include "hub/net/server_private.h"

#include <ctype.h>
#include <limits.h>
#include <sys/socket.h>
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
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < NELEMS(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Error";
}

struct span http_header(struct lws *wsi, enum lws_token_indexes token, char *buf, size_t size)
{
    int n = lws_hdr_total_length(wsi, token);
    if (n <= 0)
        return SPAN_NONE;
    buf[0] = '\0';
    if ((size_t)n >= size || lws_hdr_copy(wsi, buf, (int)size, token) < 0)
        return SPAN("");
    return span_of(buf);
}

/* ---- answers ------------------------------------------------------------------------------------- */
struct http_answer {
    unsigned status;
    const char *type;   /* media type */
    struct span body;   /* borrowed until sent */
    const char *etag;   /* quoted, or NULL */
    const char *header; /* one more header line with its CR LF, or NULL */
    bool close;         /* end the connection */
    bool head;          /* omit the body */
};

/* Writes the answer; libwebsockets buffers what the socket does not take. */
static bool write_answer(struct lws *wsi, const struct http_answer *answer)
{
    struct buf out = BUF_INIT;
    buf_printf(&out, "HTTP/1.1 %u %s\r\n", answer->status, status_text(answer->status));
    buf_append(&out, security_headers, sizeof security_headers - 1);
    if (answer->type)
        buf_printf(&out, "Content-Type: %s\r\n", answer->type);
    if (answer->etag)
        buf_printf(&out, "ETag: %s\r\n", answer->etag);
    if (answer->header)
        buf_append_text(&out, answer->header);
    if (answer->close)
        buf_append_text(&out, "Connection: close\r\n");
    if (answer->status != 304)
        buf_printf(&out, "Content-Length: %zu\r\n", answer->body.n);
    buf_append_text(&out, "\r\n");
    if (!answer->head && answer->status != 304)
        buf_append_span(&out, answer->body);
    int sent = lws_write(wsi, (unsigned char *)out.data, out.len, LWS_WRITE_HTTP);
    bool whole = sent == (int)out.len;
    buf_free(&out);
    return whole;
}

/* Sends the answer and ends the request; returns what the callback of libwebsockets must return. */
static int send_answer(struct lws *wsi, const struct http_answer *answer)
{
    if (!write_answer(wsi, answer))
        return -1;
    if (lws_partial_buffered(wsi))
        lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, 60); /* for a slow reader of a large file */
    else if (answer->close)
        return -1;
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

static bool answer_ok(struct http_answer *ret, const char *type, struct span body)
{
    *ret = (struct http_answer){.status = 200, .type = type, .body = body};
    return true;
}

#define ERROR_TEXT 256

/* The answer to a refused request; its body is in `text`. */
static struct http_answer error_answer(struct guard_verdict verdict, char text[static ERROR_TEXT])
{
    int n = snprintf(text, ERROR_TEXT, "{\"detail\":\"%s\",\"code\":\"%s\"}\n", verdict.detail, verdict.code);
    struct http_answer answer = {
        .status = verdict.status, .type = "application/json", .body = {text, (size_t)n}, .close = true};
    if (verdict.status == 426)
        answer.header = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    if (verdict.status == 401)
        answer.header = "WWW-Authenticate: Bearer\r\n";
    if (verdict.status == 405)
        answer.header = "Allow: GET, HEAD\r\n";
    return answer;
}

static int send_error(struct lws *wsi, struct guard_verdict verdict)
{
    char text[ERROR_TEXT];
    struct http_answer answer = error_answer(verdict, text);
    return send_answer(wsi, &answer);
}

/* The same, while the body of the request is still being received. */
static bool write_error(struct lws *wsi, struct guard_verdict verdict)
{
    char text[ERROR_TEXT];
    struct http_answer answer = error_answer(verdict, text);
    return write_answer(wsi, &answer);
}

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
static bool comes_from_here(struct lws *wsi)
{
    const struct peer *peer = lws_get_opaque_user_data(wsi);
    return peer && address_is_local(span_of(charge_who(&peer->address))) &&
           lws_hdr_total_length(wsi, WSI_TOKEN_X_FORWARDED_FOR) <= 0 &&
           lws_hdr_custom_length(wsi, "forwarded:", 10) < 0;
}

/* Checks a request for what not everybody may read: /metrics. */
static struct guard_verdict check_reader(const struct server *server, struct lws *wsi, struct span path)
{
    char buf[SERVER_HEADER_BYTES];
    if (!span_is(path, "/metrics"))
        return (struct guard_verdict){.status = 0};
    return guard_metrics(http_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, buf, sizeof buf),
                         server->metrics_token, comes_from_here(wsi));
}

static bool find_answer(const struct route_request *request, struct http_answer *answer)
{
    for (size_t i = 0; i < NELEMS(routes); i++)
        if (leads_to(request->path, &routes[i]) && routes[i].run(request, answer))
            return true;
    return false;
}

/* ---- requests ------------------------------------------------------------------------------------- */
#define VALUE_MAX 512 /* most bytes of a header value that is checked */

struct head { /* a request and the memory of its header values */
    struct guard_request request;
    char host[256], http[16], upgrade[64], version[16], key[64], origin[VALUE_MAX], protocols[VALUE_MAX];
    char transfer_encoding[64], content_length[32];
};

static void read_head(struct lws *wsi, struct head *head, int method, struct span path)
{
    struct guard_request *request = &head->request;
    request->get = method == LWSHUMETH_GET;
    request->head = method == LWSHUMETH_HEAD;
    request->path = path;
#define READ(member, token) request->member = http_header(wsi, token, head->member, sizeof head->member)
    READ(host, WSI_TOKEN_HOST);
    READ(http, WSI_TOKEN_HTTP);
    READ(upgrade, WSI_TOKEN_UPGRADE);
    READ(version, WSI_TOKEN_VERSION);
    READ(key, WSI_TOKEN_KEY);
    READ(origin, WSI_TOKEN_ORIGIN);
    READ(protocols, WSI_TOKEN_PROTOCOL);
    READ(transfer_encoding, WSI_TOKEN_HTTP_TRANSFER_ENCODING);
    READ(content_length, WSI_TOKEN_HTTP_CONTENT_LENGTH);
#undef READ
}

static int read_request(struct lws *wsi, struct head *head)
{
    char *uri = NULL;
    int n = 0;
    int method = lws_http_get_uri_and_method(wsi, &uri, &n);
    memset(head, 0, sizeof *head);
    read_head(wsi, head, method, method >= 0 && n > 0 ? (struct span){uri, (size_t)n} : SPAN_NONE);
    return method;
}

bool http_is_probe(struct lws *wsi)
{
    char *uri = NULL;
    int n = 0;
    bool known = lws_http_get_uri_and_method(wsi, &uri, &n) >= 0;
    struct span path = known && n > 0 ? (struct span){uri, (size_t)n} : SPAN_NONE;
    return span_is(path, "/healthz") || span_is(path, "/readyz");
}

static const struct guard_verdict no_place = {503, "busy", "This hub has no place for more connections"};

int http_upgrade(struct server *server, struct lws *wsi, enum http_place place)
{
    struct head head;
    read_request(wsi, &head);
    struct guard_verdict verdict = guard_upgrade(&head.request, server->origins);
    if (verdict.status == 0 && server->draining)
        verdict = (struct guard_verdict){503, "draining", "This hub is going away"};
    if (verdict.status == 0 && place == HTTP_NO_PLACE)
        verdict = no_place;
    if (verdict.status == 0)
        return 0;
    if (strcmp(verdict.code, "origin") == 0) {
        char origin[128];
        snprintf(origin, sizeof origin, "%.*s", SPAN_ARG(head.request.origin));
        log_warn("a page of another origin was refused; the option origins says which are allowed", "origin",
                 origin);
    } else {
        log_debug("upgrade refused", "code", verdict.code);
    }
    send_error(wsi, verdict);
    return 1;
}

/* ---- bodies, which nothing here wants --------------------------------------------------------------- */
#define BODY_READ_MAX 16777216 /* most bytes of a body that are read and discarded */

static bool has_body(const struct guard_request *request)
{
    struct span length = request->content_length;
    size_t zeros = 0;
    while (zeros < length.n && length.p[zeros] == '0')
        zeros++;
    return zeros < length.n;
}

/* Answers and keeps reading the body: most clients read the answer only after sending everything, and closing
 * earlier would reset the connection and lose the answer. */
static int refuse(struct lws *wsi, const struct guard_request *request, struct guard_verdict verdict,
                  enum http_place place)
{
    struct peer *peer = lws_get_opaque_user_data(wsi);
    if (peer == NULL || place != HTTP_STAYS || !has_body(request))
        return send_error(wsi, verdict);
    if (!write_error(wsi, verdict))
        return -1;
    if (!lws_partial_buffered(wsi))
        shutdown(lws_get_socket_fd(wsi), SHUT_WR); /* a client that reads already sees the end at once */
    peer->body = 0;
    return 0;
}

int http_body(struct lws *wsi, size_t size)
{
    struct peer *peer = lws_get_opaque_user_data(wsi);
    if (peer == NULL)
        return -1;
    peer->body += (unsigned)size;
    return peer->body > BODY_READ_MAX ? -1 : 0;
}

int http_request(struct server *server, struct lws *wsi, enum http_place place)
{
    struct head head;
    int method = read_request(wsi, &head);
    struct guard_verdict verdict = guard_body(&head.request);
    if (verdict.status == 0 && place == HTTP_NO_PLACE)
        verdict = no_place;
    if (verdict.status)
        return send_error(wsi, verdict);
    if (method < 0 || method == LWSHUMETH_CONNECT)
        return send_error(wsi, (struct guard_verdict){405, "method", "Method not allowed"});
    if (!http_is_probe(wsi) && !host_allowed(server, &head.request))
        return refuse(wsi, &head.request,
                      (struct guard_verdict){403, "host", "This name is not served (option http.hosts)"},
                      place);
    verdict = check_reader(server, wsi, head.request.path);
    if (verdict.status)
        return refuse(wsi, &head.request, verdict, place);

    struct buf hold = BUF_INIT;
    struct http_answer answer;
    int rc;
    if (!find_answer(&(struct route_request){server, head.request.path, &hold}, &answer)) {
        rc = refuse(wsi, &head.request, guard_plain(&head.request), place);
    } else if (method != LWSHUMETH_GET && method != LWSHUMETH_HEAD) {
        rc = refuse(wsi, &head.request, (struct guard_verdict){405, "method", "Method not allowed"}, place);
    } else {
        char known[80];
        struct span match = http_header(wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH, known, sizeof known);
        if (answer.etag && span_is(match, answer.etag))
            answer.status = 304;
        answer.head = method == LWSHUMETH_HEAD;
        answer.close = place == HTTP_ONE_ANSWER;
        rc = send_answer(wsi, &answer);
    }
    buf_free(&hold);
    return rc;
}
