/* One array without pointers, sorted by hash with gaps between: a hash stands at the place that is its share of the range, or
 * shortly behind. So it grows where it is: all hashes are pushed to the new end, and from there each is put to its new
 * place, which is never behind where it comes from. The kernel moves the pages; nothing is there twice. */
#include "engine/snapshot_seen.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>

#define FIRST_PLACES 4096u
#define TAIL 1024u /* places behind the last share, for those that are pushed on */

struct snapshot_seen {
	uint64_t *places; /* 0: free */
	size_t share;     /* over how many places the range is spread; `share + TAIL` are there */
	size_t count;
	uint8_t key[crypto_shorthash_KEYBYTES];
};

static size_t bytes_for(size_t share)
{
	return (share + TAIL) * sizeof(uint64_t);
}

struct snapshot_seen *snapshot_seen_new(void)
{
	struct snapshot_seen *seen = xcalloc(1, sizeof(*seen));
	seen->share = FIRST_PLACES;
	seen->places = mmap(NULL, bytes_for(seen->share), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (seen->places == MAP_FAILED)
		abort(); /* no memory, as in alloc.h */
	randombytes_buf(seen->key, sizeof(seen->key));
	return seen;
}

void snapshot_seen_free(struct snapshot_seen *seen)
{
	if (!seen)
		return;
	munmap(seen->places, bytes_for(seen->share));
	free(seen);
}

void snapshot_seen_freep(struct snapshot_seen **seen)
{
	snapshot_seen_free(*seen);
}

static size_t place_of(const struct snapshot_seen *seen, uint64_t hash)
{
	return (size_t)(((unsigned __int128)hash * seen->share) >> 64);
}

/* A quarter more places. */
static void grow(struct snapshot_seen *seen)
{
	size_t before = seen->share + TAIL, share = seen->share + seen->share / 4, after = share + TAIL;
	void *moved = mremap(seen->places, bytes_for(seen->share), bytes_for(share), MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		abort();
	seen->places = moved;
	seen->share = share;
	size_t from = after;
	for (size_t i = before; i-- > 0;) {
		if (seen->places[i] != 0)
			seen->places[--from] = seen->places[i];
	}
	size_t to = 0;
	for (; from < after; from++) {
		uint64_t hash = seen->places[from];
		size_t place = place_of(seen, hash);
		/* The rest must fit behind it. */
		if (place > from)
			place = from;
		while (to < place)
			seen->places[to++] = 0;
		seen->places[to++] = hash;
	}
	while (to < after)
		seen->places[to++] = 0;
}

/* Where it stands or belongs. */
static size_t find(const struct snapshot_seen *seen, uint64_t hash)
{
	size_t place = place_of(seen, hash);
	while (place < seen->share + TAIL && seen->places[place] != 0 && seen->places[place] < hash)
		place++;
	return place;
}

/* Puts it at `place`, what stands there moving on to the next gap. False when there is none. */
static bool insert(struct snapshot_seen *seen, size_t place, uint64_t hash)
{
	size_t gap = place;
	while (gap < seen->share + TAIL && seen->places[gap] != 0)
		gap++;
	if (gap == seen->share + TAIL)
		return false;
	memmove(&seen->places[place + 1], &seen->places[place], (gap - place) * sizeof(*seen->places));
	seen->places[place] = hash;
	seen->count++;
	return true;
}

bool snapshot_seen_add(struct snapshot_seen *seen, const void *path, size_t len)
{
	uint64_t hash;
	_Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash-2-4");
	crypto_shorthash((unsigned char *)&hash, path, len, seen->key);
	if (hash == 0)
		hash = 1;
	size_t place = find(seen, hash);
	if (place < seen->share + TAIL && seen->places[place] == hash)
		return false;
	if (seen->count > seen->share / 8 * 7)
		grow(seen);
	while (!insert(seen, find(seen, hash), hash))
		grow(seen);
	return true;
}
