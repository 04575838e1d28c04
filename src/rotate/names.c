/* Names of phases, actions and reasons, out of the lists in next_action.h. */
#include "kube-rekey/next_action.h"

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
