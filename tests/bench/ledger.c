/* SPDX-License-Identifier: MIT */
/* The ledger of tasks; see ledger.h. An open-addressing table, never more than half full. */
#include "tests/bench/ledger.h"

static uint64_t hash_of(struct span id) /* FNV-1a */
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < id.n; i++)
        hash = (hash ^ (unsigned char)id.p[i]) * UINT64_C(1099511628211);
    return hash ^ hash >> 29;
}

static void grow(struct ledger *ledger)
{
    size_t room = ledger->room ? ledger->room * 2 : 65536;
    struct ledger_entry *entries = xcalloc(room, sizeof *entries);
    for (size_t i = 0; i < ledger->room; i++) {
        if (!ledger->entries[i].used)
            continue;
        size_t at = ledger->entries[i].hash & (room - 1);
        while (entries[at].used)
            at = (at + 1) & (room - 1);
        entries[at] = ledger->entries[i];
    }
    free(ledger->entries);
    ledger->entries = entries;
    ledger->room = room;
}

struct ledger_entry *ledger_entry(struct ledger *ledger, struct span id)
{
    if (ledger->count * 2 >= ledger->room)
        grow(ledger);
    uint64_t hash = hash_of(id);
    size_t at = hash & (ledger->room - 1);
    for (; ledger->entries[at].used; at = (at + 1) & (ledger->room - 1)) {
        const struct ledger_entry *entry = &ledger->entries[at];
        if (entry->hash == hash && entry->id_size == id.n &&
            memcmp(ledger->ids.data + entry->id_at, id.p, id.n) == 0)
            return &ledger->entries[at];
    }
    ledger->entries[at] = (struct ledger_entry){
        .hash = hash, .id_at = ledger->ids.len, .id_size = id.n, .owner = -1, .first = -1, .used = true};
    buf_append_span(&ledger->ids, id);
    ledger->count++;
    return &ledger->entries[at];
}

bool ledger_event(struct ledger *ledger, struct ledger_entry *entry, int conn, struct span status)
{
    bool well = span_is(status, "completed");
    bool terminal = well || span_is(status, "failed") || span_is(status, "cancelled");
    ledger->events++;
    entry->events++;
    if (entry->owner < 0 && entry->first < 0)
        ledger->before_accept++;
    if (entry->first < 0)
        entry->first = conn;
    if (entry->first != conn || (entry->owner >= 0 && entry->owner != conn)) {
        ledger->wrong_owner++;
        return false;
    }
    if (entry->ended) {
        if (terminal)
            ledger->duplicate_final++;
        else
            ledger->after_final++;
        return false;
    }
    entry->ended = terminal;
    entry->ended_well = well;
    return terminal;
}

uint64_t ledger_missing(const struct ledger *ledger, unsigned expected)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < ledger->room; i++)
        if (ledger->entries[i].used && ledger->entries[i].owner >= 0 && ledger->entries[i].events < expected)
            missing += expected - ledger->entries[i].events;
    return missing;
}

uint64_t ledger_orphans(const struct ledger *ledger)
{
    uint64_t orphans = 0;
    for (size_t i = 0; i < ledger->room; i++)
        orphans += ledger->entries[i].used && ledger->entries[i].owner < 0;
    return orphans;
}

void ledger_free(struct ledger *ledger)
{
    free(ledger->entries);
    buf_free(&ledger->ids);
    *ledger = (struct ledger){0};
}
