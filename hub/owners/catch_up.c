/* SPDX-License-Identifier: MIT */
/* Pages and replies of a member that catches up; see catch_up.h. Loop thread. */
#include "hub/owners/catch_up.h"

void catch_up_free_page(struct catch_up *catch_up)
{
    while (catch_up_next(catch_up))
        catch_up_advance(catch_up);
    free(catch_up->page);
    catch_up->page = NULL;
    catch_up->page_at = catch_up->page_count = 0;
}

void catch_up_free(struct catch_up *catch_up)
{
    catch_up_free_page(catch_up);
    free(catch_up->replied);
    *catch_up = (struct catch_up){.page = NULL};
}

void catch_up_keep_page(struct catch_up *catch_up, const struct owner_replay *replay)
{
    catch_up->page = xmalloc(replay->count * sizeof(struct event *));
    catch_up->page_count = replay->count;
    for (size_t i = 0; i < replay->count; i++)
        catch_up->page[i] = event_ref(replay->events[i]);
}

struct event *catch_up_next(const struct catch_up *catch_up)
{
    return catch_up->page_at < catch_up->page_count ? catch_up->page[catch_up->page_at] : NULL;
}

void catch_up_advance(struct catch_up *catch_up)
{
    if (catch_up->page_at < catch_up->page_count)
        event_unref(&catch_up->page[catch_up->page_at++]);
}

void catch_up_note_replied(struct catch_up *catch_up, uint64_t seq)
{
    if (catch_up->replied_count == catch_up->replied_room) {
        catch_up->replied_room = catch_up->replied_room ? 2 * catch_up->replied_room : 8;
        catch_up->replied = xrealloc(catch_up->replied, catch_up->replied_room * sizeof *catch_up->replied);
    }
    catch_up->replied[catch_up->replied_count++] = seq;
}

bool catch_up_was_replied(struct catch_up *catch_up, uint64_t seq)
{
    while (catch_up->replied_at < catch_up->replied_count && catch_up->replied[catch_up->replied_at] < seq)
        catch_up->replied_at++;
    return catch_up->replied_at < catch_up->replied_count && catch_up->replied[catch_up->replied_at] == seq;
}
