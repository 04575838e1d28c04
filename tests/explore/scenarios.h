/* What is explored. A scenario without stops or silence leaves out what another one has, so that all of them together
 * stay under a minute of processor time; --all has them together. */
#pragma once
/* clang-format off */ /* it would put each field on a line of its own */
#include "model.h"

#define CALM .no_stops = true, .no_silence = true
#define WITHOUT(rule) .rules = RULES_ALL & ~(unsigned)RULE_##rule, .must_fail = true
#define FLAWED(flaw) .flaws = FLAW_##flaw, .must_fail = true
#define LARGE .only_all = true

static const struct scenario scenarios[] = {
	/* What must hold. */
	{.name = "plain", .states = 526250, .servers = 1},
	{.name = "abort", .states = 236250, .servers = 1, .no_silence = true, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "two-processes", .states = 327914, .servers = 1, CALM,
	 .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},
	{.name = "restored", .states = 77032, .servers = 1, CALM, .budgets = {[BUDGET_RESTORE] = 1}},
	{.name = "put-back", .states = 494778, .servers = 1, CALM,
	 .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_COPY] = 1}},
	{.name = "put-back-and-restarted", .states = 550222, .servers = 1, .no_silence = true, .no_reload = true,
	 .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "put-back-twice", .states = 723092, .servers = 1, CALM, .budgets = {[BUDGET_PUT_BACK] = 2}},
	{.name = "edited", .states = 657028, .servers = 1, CALM, .undoes = true,
	 .budgets = {[BUDGET_EDIT] = 1, [BUDGET_PUT_BACK] = 1}},
	{.name = "refused", .states = 50062, .servers = 1, CALM,
	 .budgets = {[BUDGET_REFUSE] = 1, [BUDGET_QUARANTINE] = 1}},
	{.name = "reloads", .states = 124542, .servers = 1, .no_silence = true, .by_reloads = true},
	{.name = "blind", .states = 129256, .servers = 1, CALM, .blind = true, .odd = true, .compact = true},
	{.name = "two-servers", .states = 140808, CALM, .servers = 2},
	{.name = "two-servers-restarted", .states = 39322, CALM, .servers = 2, .no_reload = true, .restarts = true},
	{.name = "two-servers-blind", .states = 337598, CALM, .servers = 2, .blind = true},
	{.name = "skipping", .states = 128, CALM, .servers = 2, .skips_a_step = true, .person = true},

	/* Each rule is needed. */
	{.name = "without LOADED", .servers = 1, WITHOUT(LOADED)},
	{.name = "without READABLE", CALM, .servers = 2, .skips_a_step = true, WITHOUT(READABLE)},
	{.name = "without SETTLED", .servers = 1, WITHOUT(SETTLED)},
	{.name = "without CENSUS", .servers = 1, CALM, WITHOUT(CENSUS)},
	{.name = "without HISTORY", .servers = 1, CALM, WITHOUT(HISTORY)},
	{.name = "without FRESH", .servers = 1, CALM, WITHOUT(FRESH), .budgets = {[BUDGET_RESTORE] = 1}},
	{.name = "without FENCED", .servers = 1, CALM, WITHOUT(FENCED),
	 .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},

	/* And so is what the engine does around them. */
	{.name = "flaw: no nonce", .servers = 1, CALM, FLAWED(NO_NONCE), .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "flaw: silence not seen", .servers = 1, FLAWED(NO_SILENCE)},
	{.name = "flaw: restart not seen", .servers = 1, .no_silence = true, FLAWED(NO_PROCESS)},
	{.name = "flaw: revision not seen", .servers = 1, CALM, FLAWED(NO_REVISION), .budgets = {[BUDGET_RESTORE] = 1}},
	{.name = "flaw: old orders", .servers = 1, CALM, FLAWED(OLD_ORDERS), .budgets = {[BUDGET_RESTORE] = 1}},
	{.name = "flaw: swaps blindly", .servers = 1, .no_silence = true, FLAWED(SWAP_BLINDLY),
	 .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},

	/* Larger bounds. */
	{.name = "all: abort", .servers = 1, LARGE, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "all: two-processes", .servers = 1, LARGE, .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1}},
	{.name = "all: restored", .servers = 1, LARGE, .budgets = {[BUDGET_RESTORE] = 1}},
	{.name = "all: restored and aborted", .servers = 1, CALM, LARGE,
	 .budgets = {[BUDGET_RESTORE] = 1, [BUDGET_ABORT] = 1}},
	{.name = "all: put-back", .servers = 1, LARGE, .budgets = {[BUDGET_PUT_BACK] = 1}},
	{.name = "all: put-back twice", .servers = 1, CALM, LARGE,
	 .budgets = {[BUDGET_PUT_BACK] = 2, [BUDGET_COPY] = 1}},
	{.name = "all: put-back and aborted", .servers = 1, CALM, LARGE,
	 .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_ABORT] = 1}},
	{.name = "all: edited", .servers = 1, LARGE, .budgets = {[BUDGET_EDIT] = 1}},
	{.name = "all: refused", .servers = 1, LARGE, .budgets = {[BUDGET_REFUSE] = 1, [BUDGET_QUARANTINE] = 1}},
	{.name = "all: reloads", .servers = 1, LARGE, .by_reloads = true, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "all: restarts", .servers = 1, LARGE, .no_reload = true, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "all: blind", .servers = 1, LARGE, .blind = true, .odd = true, .compact = true},
	{.name = "all: two-servers", .servers = 2, LARGE, .no_silence = true},
	{.name = "all: two-servers aborted", CALM, .servers = 2, LARGE, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "all: two-servers put-back", CALM, .servers = 2, LARGE, .budgets = {[BUDGET_PUT_BACK] = 1}},
};
