/* The page shared by a worker's parent and one slot; see slot_page.h. Any process; one thread each. */
#include "tasks/runner/slots/slot_page.h"

#include <sys/mman.h>
#include <unistd.h>

int slot_page_create(void)
{
    int fd = memfd_create("taskhub-slot", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, sizeof(struct slot_page)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

struct slot_page *slot_page_map(int fd)
{
    void *page = mmap(NULL, sizeof(struct slot_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return page == MAP_FAILED ? NULL : page;
}

void slot_page_unmap(struct slot_page **page)
{
    if (*page)
        munmap(*page, sizeof **page);
    *page = NULL;
}

bool slot_page_begin(struct slot_page *page, uint32_t seq)
{
    uint64_t gate = atomic_load(&page->gate);
    do {
        if (seq < (uint32_t)gate || seq < (uint32_t)(gate >> 32))
            return false;
    } while (!atomic_compare_exchange_weak(&page->gate, &gate, (uint64_t)(seq + 1) << 32 | (uint32_t)gate));
    return true;
}

uint32_t slot_page_take_back(struct slot_page *page, uint32_t end)
{
    uint64_t gate = atomic_load(&page->gate);
    while (!atomic_compare_exchange_weak(&page->gate, &gate, (gate >> 32) << 32 | end))
        continue;
    uint32_t begun = (uint32_t)(gate >> 32);
    return begun < end ? begun : end;
}

uint32_t slot_page_begun(const struct slot_page *page)
{
    return (uint32_t)(atomic_load(&page->gate) >> 32);
}

void slot_page_stop(struct slot_page *page, uint32_t seq, enum slot_stop reason)
{
    atomic_store(&page->stop, (uint64_t)seq << 8 | reason);
}

enum slot_stop slot_page_stopped(const struct slot_page *page, uint32_t seq)
{
    uint64_t stop = atomic_load_explicit(&page->stop, memory_order_relaxed);
    return stop >> 8 == seq ? (enum slot_stop)(stop & 0xff) : STOP_NONE;
}

uint32_t slot_page_show(struct slot_page *page, const struct slot_shown *shown)
{
    uint32_t version = atomic_load_explicit(&page->version, memory_order_relaxed);
    atomic_store_explicit(&page->version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memcpy(&page->shown, shown, offsetof(struct slot_shown, meta) + shown->meta_size);
    version = version + 2 ? version + 2 : 2; /* 0 means never */
    atomic_store_explicit(&page->version, version, memory_order_release);
    return version;
}

uint32_t slot_page_look(const struct slot_page *page, uint32_t known, struct slot_shown *ret)
{
    uint32_t before = atomic_load_explicit(&page->version, memory_order_acquire);
    if (before == known || before % 2 || before == 0)
        return 0;
    memcpy(ret, &page->shown, sizeof *ret);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&page->version, memory_order_relaxed) != before)
        return 0;
    ret->stage[sizeof ret->stage - 1] = ret->message[sizeof ret->message - 1] = '\0';
    if (ret->meta_size > SLOT_META_MAX)
        ret->meta_size = 0;
    return before;
}
