/* SPDX-License-Identifier: MIT */
#ifndef MEMMAPFS_MAPPING_CACHE_H
#define MEMMAPFS_MAPPING_CACHE_H

/*
 * The mapping cache: windows, spans of files mapped into memory, found again by (file, offset), pinned
 * while somebody touches their bytes, evicted least recently used when address space or map slots
 * run short. Knows descriptors and bytes; no inode, no FUSE, no event loop.
 *
 * Lock order: mapping->lock, then cache->lock. Pinning a window that is mapped already takes neither:
 * struct window is type-stable (recycled inside the cache, freed with it), its state word tells whether
 * it lives, and a pin is taken first and its identity checked afterwards.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mapping/dirty.h"
#include "mapping/errnos.h"
#include "util.h"

struct extent_list;
struct mapping;
struct paging;
struct window_slab;
struct window_table;

/* A hint that divides a window's mapping in two takes a map slot; a file may have so many of them. */
#define WINDOW_SPLITS 64

/* Who looked at window->touched since it was set. */
#define TOUCHED_FOR_EVICTION 1u
#define TOUCHED_FOR_IDLE 2u
#define TOUCHED (TOUCHED_FOR_EVICTION | TOUCHED_FOR_IDLE)

struct window {
	struct window_cache *cache; /* constant for the life of the struct */
	_Atomic uint32_t state;	    /* pins, and WINDOW_DEAD; the flag is set under cache->lock only */
	_Atomic uint8_t touched;    /* TOUCHED_*: pinned since these last passed by */
	_Atomic bool storable;	    /* mapped PROT_WRITE too; protected by owner->lock for writing */
	_Atomic bool fresh;	    /* nobody has asked for its bytes yet: they are not read ahead */
	_Atomic bool read_ahead;    /* mapping_work() is to read it ahead */
	_Atomic uint64_t inside;    /* mapped bytes that lie inside the file, as last seen */
	_Atomic uint64_t locked;    /* bytes locked in memory; written under owner->lock */
	_Atomic(struct mapping *) owner;
	_Atomic uint64_t index;
	/* constant from publication to the last unpin */
	bool shared;	 /* mapped from a descriptor open for writing: msync(2) works, ETXTBSY threatens */
	bool sync_tried; /* MAP_SYNC was asked for */
	bool lasting;	 /* and granted: a store is on the medium after guarded_persist() */
	unsigned char *bytes;
	size_t length;
	uint64_t offset;
	/* protected by cache->lock */
	struct window *lru_next, *lru_previous;
	struct window *all_next; /* every struct ever allocated */
	uint64_t touched_ms;	 /* when window_cache_idle() last found it touched */
	bool cold;		 /* it was made cold since */
};

/* Told by mapping/ of what it cannot do itself; called with no lock of mapping/ held. */
struct window_hooks {
	/* There is something for mapping_work(). */
	void (*due)(struct mapping *mapping);
	/* The kernel refused what the policy asks for; @error is positive. */
	void (*refused)(struct mapping *mapping, enum mapping_call call, int error);
};

/* Asked by whatever takes long whether it should end; @asked may be NULL. */
struct mapping_stop {
	bool (*asked)(void *context);
	void *context;
};

enum window_counter { WINDOW_HITS, WINDOW_MISSES, WINDOW_EVICTIONS, WINDOW_COUNTERS };

struct window_cache {
	/* constant after window_cache_init() */
	uint64_t window_size; /* bytes, or UINT64_MAX to map each file whole */
	uint64_t max_mapped;  /* bytes of address space; 0 for no limit */
	size_t max_windows;   /* half of vm.max_map_count */
	size_t huge_size;     /* bytes of a huge page; 0 where there are none */
	uint64_t unit;	      /* mappings begin and end at multiples of it; see window_cache_set_unit() */
	struct window_hooks hooks; /* each NULL where nobody wants to know; set before the first mapping */

	pthread_mutex_t lock;
	struct window lru;	   /* protected by lock; head of the ring, most recently mapped first */
	struct window *unused;	   /* protected by lock; linked by lru_next */
	struct window_slab *slabs; /* protected by lock; where the structs lie */
	struct window *all;	   /* protected by lock */
	size_t count;		   /* protected by lock; windows mapped or about to be */
	uint64_t mapped;	   /* protected by lock; their bytes of address space */

	_Atomic int64_t inside; /* bytes inside files, of all windows */
	_Atomic int64_t locked; /* bytes locked in memory, of all windows */
	struct tally tally;	/* enum window_counter */
	struct mapping_said said;
};

/* The windows of one file. What not every file needs is allocated when there is something to hold. */
struct mapping {
	struct window_cache *cache;
	pthread_mutex_t lock;
	_Atomic(struct window_table *) table;  /* written under lock; hints, verified by the reader */
	struct dirty_set *dirty;	       /* protected by lock; NULL while nothing is dirty */
	_Atomic(const struct paging *) paging; /* written under lock; NULL: no policy */
	_Atomic(struct extent_list *) to_lock; /* written and read under lock, but for "is there one?" */
	_Atomic uint8_t advice_set;	       /* an enum advice + 1 that somebody set; 0: the policy's */
	_Atomic uint8_t huge_set;	       /* ADVICE_HUGEPAGE or ADVICE_NOHUGEPAGE + 1, as above */
	uint8_t splits;			       /* protected by lock; of the mappings there are, at most */
	_Atomic bool read_ahead;	       /* mapping_work() is to read the whole file ahead */
	_Atomic bool preloaded;		       /* that was asked for since the file was first mapped */
};

/* What the caller knows of the file it wants mapped bytes of. */
struct window_source {
	int fd;	       /* open file; borrowed for the call, may be closed afterwards */
	bool writable; /* fd is open for reading and writing */
	bool growing;  /* somebody has the file open for writing: map past its end */
	bool shared;   /* insist on a window that msync(2) works on; needs writable */
	bool store;    /* the bytes will be stored to; needs writable */
	bool direct;   /* the file is in DAX mode: ask for MAP_SYNC; needs writable */
	bool quiet;    /* not for the bytes' sake: nothing is read ahead for this */
	uint64_t size; /* of the file, in bytes */
};

struct window_pin {
	struct window *window; /* NULL: nothing pinned */
	unsigned char *bytes;  /* address of the byte at the offset asked for */
	size_t length;	       /* bytes from there, at most what was asked for, > 0 */
	bool lasting;	       /* a store is on the medium after guarded_persist(), without msync(2) */
};

/**
 * window_cache_init() - an empty cache
 * @cache:       caller's memory
 * @window_size: span of a window in bytes, a multiple of the page size; UINT64_MAX maps files whole
 * @max_mapped:  address space for windows in bytes; 0 leaves only the kernel's limits
 *
 * Return: 0, or -errno of the mutex.
 *
 * See: Documentation/admin-guide/sysctl/vm.rst (max_map_count)
 */
int window_cache_init(struct window_cache *cache, uint64_t window_size, uint64_t max_mapped);

/**
 * window_cache_set_unit() - the files are on hugetlbfs, whose pages are @unit bytes each
 * @unit: a power of two above the page size
 *
 * Windows then begin and end with such pages, the window size being rounded up, and never reach past the
 * file's end, since a mapping that can be written would move that there. They reserve no pages: a store
 * into a hole fails when there is none left.
 *
 * Before the first mapping.
 */
void window_cache_set_unit(struct window_cache *cache, uint64_t unit);

/** window_cache_fini() - release everything; every mapping is finished, nothing is pinned */
void window_cache_fini(struct window_cache *cache);

/** mapping_init() - no windows yet; @cache outlives the mapping */
int mapping_init(struct mapping *mapping, struct window_cache *cache);

/** mapping_fini() - unmap every window; nothing is pinned, nobody else uses the mapping */
void mapping_fini(struct mapping *mapping);

/**
 * mapping_pin() - mapped bytes of a file, kept mapped until window_unpin()
 * @mapping: the file's windows
 * @source:  the file and what is wanted of it
 * @offset:  first byte, inside the file
 * @length:  bytes wanted, > 0; may reach past the window, then fewer are pinned
 * @ret_pin: set on success only
 *
 * Locks:  none when the window is mapped already, else mapping->lock and cache->lock.
 * Blocks: no; pages fault in later, in whoever touches them. Touch them with guarded_copy() only.
 *
 * Return: 0, or the -errno of mmap(2); -ENOMEM also where every window is pinned and the limit of
 * the cache is reached. The row in mapping/errnos.h says what to do.
 */
int mapping_pin(struct mapping *mapping, const struct window_source *source, uint64_t offset, size_t length,
		struct window_pin *ret_pin);

/** window_unpin() - end a pin; accepts a pin that was never set or ended before */
void window_unpin(struct window_pin *pin);

/**
 * mapping_drop() - let windows go; pinned ones go with their last pin
 * @shared_only: only those mapped from a descriptor open for writing, so that the file can be executed
 *
 * What the policy or a user wants locked is mapped again by mapping_work(), which becomes due.
 *
 * Locks: mapping->lock, cache->lock.
 */
void mapping_drop(struct mapping *mapping, bool shared_only);

/** mapping_resized() - the file has @size bytes now: count the windows' bytes inside it anew */
void mapping_resized(struct mapping *mapping, uint64_t size);

/**
 * mapping_usage() - how many windows the mapping has, and their bytes inside the file
 *
 * Locks: mapping->lock.
 */
void mapping_usage(struct mapping *mapping, size_t *ret_windows, uint64_t *ret_inside);

#endif
