/* SPDX-License-Identifier: MIT */
/* The memory that a worker's parent and one slot share; see gate.h. Lock-free; used by one thread of the
 * parent and two of the slot. */
#include "tasks/runner/slots/gate.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int slot_gate_create(void)
{
    int fd = memfd_create("taskhub-slot", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, sizeof(struct slot_gate)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

struct slot_gate *slot_gate_map(int fd)
{
    void *gate = mmap(NULL, sizeof(struct slot_gate), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return gate == MAP_FAILED ? NULL : gate;
}

void slot_gate_unmap(struct slot_gate **gate)
{
    if (*gate)
        munmap(*gate, sizeof **gate);
    *gate = NULL;
}

bool slot_gate_begin(struct slot_gate *gate, uint32_t seq)
{
    uint64_t order = atomic_load(&gate->order);
    do {
        if (seq < (uint32_t)order || seq < (uint32_t)(order >> 32))
            return false;
    } while (
        !atomic_compare_exchange_weak(&gate->order, &order, (uint64_t)(seq + 1) << 32 | (uint32_t)order));
    return true;
}

uint32_t slot_gate_take_back(struct slot_gate *gate, uint32_t end)
{
    uint64_t order = atomic_load(&gate->order);
    while (!atomic_compare_exchange_weak(&gate->order, &order, (order >> 32) << 32 | end))
        continue;
    uint32_t begun = (uint32_t)(order >> 32);
    return begun < end ? begun : end;
}

uint32_t slot_gate_begun(const struct slot_gate *gate)
{
    return (uint32_t)(atomic_load(&gate->order) >> 32);
}

void slot_gate_stop(struct slot_gate *gate, uint32_t seq, enum run_stop reason)
{
    atomic_store(&gate->stop, (uint64_t)seq << 8 | reason);
}

enum run_stop slot_gate_stopped(const struct slot_gate *gate, uint32_t seq)
{
    uint64_t stop = atomic_load_explicit(&gate->stop, memory_order_relaxed);
    return stop >> 8 == seq ? (enum run_stop)(stop & 0xff) : STOP_NONE;
}

void slot_gate_hurry(struct slot_gate *gate)
{
    atomic_fetch_add(&gate->hurries, 1);
    syscall(SYS_futex, &gate->hurries, FUTEX_WAKE, 1, NULL, NULL, 0);
}

uint32_t slot_gate_await_hurry(struct slot_gate *gate, uint32_t seen)
{
    uint32_t said;
    while ((said = atomic_load(&gate->hurries)) == seen)
        syscall(SYS_futex, &gate->hurries, FUTEX_WAIT, seen, NULL, NULL, 0);
    return said;
}
