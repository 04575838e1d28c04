/* What explore.c asks of a model. The header of the model, which defines struct model_state and struct scenario, includes
 * this. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct model_state;
struct scenario;

void model_begin(const struct scenario *scenario);
size_t model_initial(struct model_state *ret, size_t max);

/* Calls `visit` with each state that can come next, and the event's name. */
typedef void model_visit(const struct model_state *next, unsigned event, void *arg);
void model_successors(const struct model_state *state, model_visit *visit, void *arg);
/* The state that comes next when everybody helps: servers load, members answer, time passes, nobody interferes. END:
 * the rotation is at its end. PERSON: it is blocked, after something interfered. STUCK: it is blocked for no cause. */
enum helped { HELPED, HELPED_END, HELPED_PERSON, HELPED_STUCK };
enum helped model_helped(const struct model_state *state, struct model_state *ret, unsigned *event);
/* A never that is broken in this state, as words; NULL when none is. */
const char *model_broken(const struct model_state *state);
/* What `event` was, in words, for traces; `before` is the state it left. */
void model_tell(const struct model_state *before, unsigned event, const struct model_state *after, char *text,
		size_t size);

/* Prints how often each decision was made since the program began, under all rules and without flaws; false when one
 * never was. */
bool model_reached(void);
