/* What is explored of three servers. The larger bounds are only for --all. */
#pragma once
/* clang-format off */ /* it would put each field on a line of its own */
#include "fleet.h"

#define LARGE .only_all = true
#define WITHOUT(check) .checks = CHECK_##check, .must_fail = true
/* Nor does it look at the other servers, which would do for the check most of the time. */
#define ALONE_WITHOUT(check) .checks = CHECK_##check | CHECK_PEERS, .must_fail = true
#define FLAWED(flaw) .flaws = FLAW_##flaw, .must_fail = true
/* The controller does not ask, and the agents take its word. */
#define TRUSTING(rule, check) .rules = RULES_ALL & ~(unsigned)RULE_##rule, .checks = (check), .must_fail = true
/* The controller does not ask, but the agents do. */
#define CONFUSED(rule) .rules = RULES_ALL & ~(unsigned)RULE_##rule

static const struct scenario scenarios[] = {
	{.name = "plain", .states = 5220, .servers = 3, .workers = true, .history = true},
	{.name = "down", .states = 61094, .servers = 3, .budgets = {[BUDGET_STOP] = 2}},
	{.name = "down, an old file", .states = 1570816, .servers = 3, .budgets = {[BUDGET_STOP] = 1, [BUDGET_PUT_BACK] = 1}},
	{.name = "stalled", .states = 273388, .servers = 3, .budgets = {[BUDGET_STALL] = 1}},
	{.name = "killed", .states = 244532, .servers = 3, .budgets = {[BUDGET_RESTART] = 1, [BUDGET_TAKEOVER] = 1}},
	{.name = "taken over", .states = 527940, .servers = 3, .budgets = {[BUDGET_TAKEOVER] = 1, [BUDGET_LATE] = 1}},
	{.name = "aborted", .states = 487244, .servers = 3, .budgets = {[BUDGET_ABORT] = 1, [BUDGET_LATE] = 1}},
	{.name = "aborted, workers", .states = 62470, .servers = 3, .workers = true, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "aborted, stalled", .states = 335714, .servers = 2, .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},
	{.name = "wiped", .states = 742478, .servers = 3, .budgets = {[BUDGET_WIPE] = 1, [BUDGET_ABORT] = 1}},
	{.name = "restored", .states = 37106, .servers = 3, .budgets = {[BUDGET_RESTORE] = 1}},
	{.name = "restored, late", .states = 67260, .servers = 2, .budgets = {[BUDGET_RESTORE] = 1, [BUDGET_LATE] = 1}},
	{.name = "restored, stalled", .states = 451692, .servers = 2, .budgets = {[BUDGET_RESTORE] = 1, [BUDGET_STALL] = 1}},
	{.name = "put back", .states = 231040, .servers = 3, .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "put back, any", .states = 596934, .servers = 2, .copies = true, .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_LATE] = 1}},
	{.name = "alone", .states = 384984, .servers = 3, .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_ALONE] = 1}},
	{.name = "alone twice", .states = 728788, .servers = 2, .budgets = {[BUDGET_PUT_BACK] = 2, [BUDGET_ALONE] = 2}},
	{.name = "forged", .states = 719452, .servers = 3, .budgets = {[BUDGET_FORGE] = 1}},
	{.name = "edited", .states = 10812, .servers = 3, .budgets = {[BUDGET_EDIT] = 1}},
	{.name = "confused: LOADED", .states = 4140, .servers = 3, CONFUSED(LOADED)},
	{.name = "confused: SETTLED", .states = 1942, .servers = 3, CONFUSED(SETTLED)},
	{.name = "confused: CENSUS", .states = 1044, .servers = 3, CONFUSED(CENSUS)},
	{.name = "confused: HISTORY", .states = 3882, .servers = 3, .history = true, CONFUSED(HISTORY)},
	{.name = "blind", .states = 1088, .servers = 2, .blind = true, .history = true},

	/* Each check of an agent, and what leaders do around it, is needed. */
	{.name = "without EPOCH", .servers = 2, ALONE_WITHOUT(EPOCH), .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},
	{.name = "without INCARNATION", .servers = 2, ALONE_WITHOUT(INCARNATION), .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1, [BUDGET_WIPE] = 1}},
	{.name = "without HASH", .servers = 2, WITHOUT(HASH), .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "without STEP", .servers = 2, WITHOUT(STEP), .budgets = {[BUDGET_FORGE] = 1}},
	{.name = "without FRESH", .servers = 2, ALONE_WITHOUT(FRESH), .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_LATE] = 1}},
	/* A fresh read shows that the order went with the restored etcd, and the census that it went back. */
	{.name = "without AGE", .servers = 2, .checks = CHECK_AGE | CHECK_FRESH | CHECK_CENSUS, .must_fail = true, .budgets = {[BUDGET_RESTORE] = 1, [BUDGET_LATE] = 1}},
	{.name = "without ACKNOWLEDGED", .servers = 2, .checks = CHECK_ACKNOWLEDGED | CHECK_PEERS, FLAWED(NO_WAITING),
	 .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "without PEERS", .servers = 2, WITHOUT(PEERS), .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "flaw: no nonce", .servers = 2, .workers = true, .copies = true, FLAWED(NO_NONCE), .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "flaw: no epochs", .servers = 2, .checks = CHECK_PEERS, FLAWED(NO_EPOCHS), .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},
	{.name = "flaw: down does not count", .servers = 2, FLAWED(FORGET_DOWN), .budgets = {[BUDGET_STOP] = 1}},
	{.name = "trusting, without LOADED", .servers = 3, TRUSTING(LOADED, CHECK_LOADED | CHECK_PEERS)},
	{.name = "trusting, without SETTLED", .servers = 3, TRUSTING(SETTLED, CHECK_SETTLED)},
	{.name = "trusting, without CENSUS", .servers = 3, TRUSTING(CENSUS, CHECK_CENSUS)},
	{.name = "trusting, without HISTORY", .servers = 3, .history = true, TRUSTING(HISTORY, CHECK_CENSUS)},

	/* Larger bounds. */
	{.name = "all: aborted, stalled", .servers = 3, LARGE, .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},
	{.name = "all: wiped, stalled", .servers = 2, LARGE, .budgets = {[BUDGET_WIPE] = 1, [BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},
	{.name = "all: stalled", .servers = 3, LARGE, .budgets = {[BUDGET_STALL] = 1, [BUDGET_RESTART] = 1}},
	{.name = "all: aborted, down", .servers = 3, LARGE, .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STOP] = 1}},
	{.name = "all: restored", .servers = 3, LARGE, .budgets = {[BUDGET_RESTORE] = 1, [BUDGET_STALL] = 1}},
	{.name = "all: put back", .servers = 3, LARGE, .copies = true, .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "all: put back, aborted", .servers = 3, LARGE, .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_ABORT] = 1}},
	{.name = "all: alone", .servers = 3, LARGE, .budgets = {[BUDGET_PUT_BACK] = 2, [BUDGET_ALONE] = 1}},
};
