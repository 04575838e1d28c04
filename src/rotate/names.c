/* Names of phases, actions and reasons, out of the lists in next_action.h and order.h. */
#include "kube-rekey/order.h"

#include "base/text.h"

const char *phase_name(enum phase phase)
{
	switch (phase) {
#define X(id, text)      \
	case PHASE_##id: \
		return text;
		PHASES(X)
#undef X
	}
	return "Unknown";
}

const char *action_name(enum action action)
{
	switch (action) {
#define X(id, text)       \
	case ACTION_##id: \
		return text;
		ACTIONS(X)
#undef X
	}
	return "unknown";
}

const char *reason_text(enum reason reason)
{
	switch (reason) {
#define X(id, text)       \
	case REASON_##id: \
		return text;
		REASONS(X)
#undef X
	}
	return "";
}

bool reason_is_of_objects(enum reason reason)
{
	return reason == REASON_QUARANTINED || reason == REASON_OUTSIDE || reason == REASON_NOT_LISTED ||
	       reason == REASON_UNKNOWN_VALUES || reason == REASON_DOES_NOT_OPEN;
}

const char *reason_name(enum reason reason)
{
	switch (reason) {
#define X(id, text)       \
	case REASON_##id: \
		return #id;
		REASONS(X)
#undef X
	}
	return "UNKNOWN";
}

const char *order_action_name(enum order_action action)
{
	switch (action) {
#define X(id, text)      \
	case ORDER_##id: \
		return text;
		ORDER_ACTIONS(X)
#undef X
	}
	return "unknown";
}

bool order_action_from_name(const char *name, enum order_action *ret)
{
	for (enum order_action action = ORDER_NONE; action <= ORDER_RETIRE; action++)
		if (text_equal(order_action_name(action), name)) {
			*ret = action;
			return true;
		}
	return false;
}

const char *ground_name(enum ground ground)
{
	switch (ground) {
#define X(id, text)       \
	case GROUND_##id: \
		return #id;
		GROUNDS(X)
#undef X
	}
	return "UNKNOWN";
}

const char *ground_text(enum ground ground)
{
	switch (ground) {
#define X(id, text)       \
	case GROUND_##id: \
		return text;
		GROUNDS(X)
#undef X
	}
	return "";
}
