/* Visits every state of a model (model.h or fleet.h), the nearest first, and checks the nevers of the design in each. Of each
 * scenario: that it holds, how many states it has, and that from each of them the rotation comes to its end when
 * everybody helps. With a rule of next_action switched off, or a flaw in the engine around it, a never must be broken,
 * and the shortest way there is printed.
 *
 *   explore [--all] [--trace] [SCENARIO]... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include MODEL_HEADER

#define NOT_THERE UINT32_MAX
#define STATES_MAX (40u << 20)

struct node {
	struct model_state state;
	uint32_t parent;
	uint32_t helped; /* the state that comes next when everybody helps; or an ending */
	uint16_t event;
};
enum { ENDS = UINT32_MAX - 1, PERSON = UINT32_MAX - 2, STUCK = UINT32_MAX - 3, GOOD = UINT32_MAX - 4 };

static struct {
	struct node *nodes;
	uint32_t *table; /* open addressing: index of a node, NOT_THERE */
	size_t count, room, mask;
	uint32_t at; /* whose successors are visited */
	uint64_t transitions;
	const char *broken;
	uint32_t broken_at;
} found;

/* --- the set of states --- */

static uint64_t hash(const struct model_state *state)
{
	const unsigned char *bytes = (const unsigned char *)state;
	uint64_t h = 0x9e3779b97f4a7c15u, word = 0;
	for (size_t i = 0; i < sizeof(*state); i += sizeof(word)) {
		size_t left = sizeof(*state) - i;
		word = 0;
		memcpy(&word, bytes + i, left < sizeof(word) ? left : sizeof(word));
		h = (h ^ word) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	return h;
}

static uint32_t *slot_of(const struct model_state *state)
{
	size_t slot = hash(state) & found.mask;
	while (found.table[slot] != NOT_THERE &&
	       memcmp(&found.nodes[found.table[slot]].state, state, sizeof(*state)) != 0)
		slot = (slot + 1) & found.mask;
	return &found.table[slot];
}

static void grow(void)
{
	found.room = found.room ? found.room * 2 : 1 << 16;
	found.mask = found.room * 2 - 1;
	found.nodes = xreallocarray(found.nodes, found.room, sizeof(*found.nodes));
	found.table = xreallocarray(found.table, found.mask + 1, sizeof(*found.table));
	memset(found.table, 0xff, (found.mask + 1) * sizeof(*found.table));
	for (size_t i = 0; i < found.count; i++)
		*slot_of(&found.nodes[i].state) = (uint32_t)i;
}

static void add(const struct model_state *state, uint32_t parent, unsigned event)
{
	if (found.count == found.room)
		grow();
	uint32_t *slot = slot_of(state);
	if (*slot != NOT_THERE)
		return;
	if (found.count == STATES_MAX) {
		printf("more than %u states\n", STATES_MAX);
		exit(1);
	}
	*slot = (uint32_t)found.count;
	found.nodes[found.count] = (struct node){*state, parent, NOT_THERE, (uint16_t)event};
	const char *broken = model_broken(state);
	if (broken && !found.broken) {
		found.broken = broken;
		found.broken_at = (uint32_t)found.count;
	}
	found.count++;
}

static void visit(const struct model_state *next, unsigned event, void *arg)
{
	(void)arg;
	found.transitions++;
	if (!found.broken)
		add(next, found.at, event);
}

/* --- liveness --- */

static void help(uint32_t at)
{
	struct model_state next;
	unsigned event;
	switch (model_helped(&found.nodes[at].state, &next, &event)) {
	case HELPED:
		found.nodes[at].helped = *slot_of(&next);
		return;
	case HELPED_END:
		found.nodes[at].helped = ENDS;
		return;
	case HELPED_PERSON:
		found.nodes[at].helped = PERSON;
		return;
	case HELPED_STUCK:
		found.nodes[at].helped = STUCK;
		return;
	}
}

/* Follows the help from each state. A state that comes to no end: its index; else NOT_THERE. */
static uint32_t endless(void)
{
	for (uint32_t i = 0; i < found.count; i++)
		help(i);
	for (uint32_t i = 0; i < found.count; i++) {
		uint32_t at = i, steps = 0;
		while (at < found.count && steps++ < 1000)
			at = found.nodes[at].helped;
		if (at != ENDS && at != PERSON && at != GOOD)
			return i;
		for (uint32_t next = i; next < found.count; next = at) {
			at = found.nodes[next].helped;
			found.nodes[next].helped = GOOD;
		}
	}
	return NOT_THERE;
}

/* --- telling --- */

static void print_trace(uint32_t at)
{
	uint32_t way[4096];
	size_t n = 0;
	for (uint32_t i = at; i != NOT_THERE && n < ELEMENTS(way); i = found.nodes[i].parent)
		way[n++] = i;
	for (size_t i = n - 1; i-- > 0;) {
		char text[512];
		const struct node *node = &found.nodes[way[i]];
		model_tell(&found.nodes[node->parent].state, node->event, &node->state, text, sizeof(text));
		printf("  %3zu %s\n", n - 1 - i, text);
	}
}

static void print_help(uint32_t at)
{
	struct model_state state = found.nodes[at].state, next;
	unsigned event;
	printf("  and then, with everybody's help:\n");
	for (size_t i = 0; i < 60 && model_helped(&state, &next, &event) == HELPED; i++) {
		char text[512];
		model_tell(&state, event, &next, text, sizeof(text));
		printf("  %3zu %s\n", i + 1, text);
		state = next;
	}
}

/* --- one scenario --- */

static void start_over(void)
{
	found.count = 0;
	found.transitions = 0;
	found.broken = NULL;
	if (found.table)
		memset(found.table, 0xff, (found.mask + 1) * sizeof(*found.table));
	else
		grow();
}

static void explore(const struct scenario *scenario)
{
	struct model_state initial[8];
	start_over();
	model_begin(scenario);
	for (size_t i = 0, n = model_initial(initial, ELEMENTS(initial)); i < n; i++)
		add(&initial[i], NOT_THERE, 0);
	for (found.at = 0; found.at < found.count && !found.broken; found.at++) {
		const struct model_state state = found.nodes[found.at].state;
		model_successors(&state, visit, NULL);
	}
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool holds(const struct scenario *scenario)
{
	/* Where the controller does not keep a rule and the agents do, it waits for ever. */
	uint32_t lost = found.broken || scenario->rules ? NOT_THERE : endless();
	if (found.broken) {
		printf("  BROKEN: %s\n", found.broken);
		print_trace(found.broken_at);
	} else if (lost != NOT_THERE) {
		printf("  comes to no end from state %u\n", lost);
		print_trace(lost);
		print_help(lost);
	} else if (scenario->states && scenario->states != found.count) {
		printf("  there should be %zu states\n", scenario->states);
	} else {
		return true;
	}
	return false;
}

static bool run(const struct scenario *scenario, bool trace)
{
	double begun = seconds();
	explore(scenario);
	bool good;
	printf("%s\n", scenario->name);
	if (scenario->must_fail) {
		good = found.broken;
		printf(good ? "  found: %s\n" : "  NOT FOUND\n", found.broken);
		if (good && trace)
			print_trace(found.broken_at);
	} else {
		good = holds(scenario);
	}
	printf("  %zu states, %llu transitions, %.1f s\n", found.count, (unsigned long long)found.transitions,
	       seconds() - begun);
	fflush(stdout);
	return good;
}

#include MODEL_SCENARIOS

static bool asked_for(const char *name, char **names, int count)
{
	bool any = false;
	for (int i = 0; i < count; i++) {
		any |= names[i][0] != '-';
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return !any;
}

static bool has_flag(const char *flag, char **args, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(args[i], flag) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	bool all = has_flag("--all", argv + 1, argc - 1) || getenv("KUBE_REKEY_TEST_ALL");
	bool trace = has_flag("--trace", argv + 1, argc - 1), good = true, whole = true;
	size_t ran = 0;
	for (size_t i = 0; i < ELEMENTS(scenarios); i++) {
		const struct scenario *scenario = &scenarios[i];
		if (!asked_for(scenario->name, argv + 1, argc - 1) || (scenario->only_all && !all)) {
			whole &= scenario->only_all;
			continue;
		}
		good &= run(scenario, trace || scenario->must_fail);
		ran++;
	}
	if (whole)
		good &= model_reached();
	if (ran == 0)
		printf("there is no such scenario\n");
	return good && ran > 0 ? 0 : 1;
}
