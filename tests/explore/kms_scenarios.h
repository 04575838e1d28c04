/* What is explored of a KMS that is followed. */
#pragma once
/* clang-format off */ /* it would put each field on a line of its own */
#include "kms.h"

#define WITHOUT(rule) .rules = RULES_ALL & ~(unsigned)RULE_##rule, .must_fail = true
#define FLAWED(flaw) .flaws = FLAW_##flaw, .must_fail = true

static const struct scenario scenarios[] = {
	{.name = "moves", .states = 200422, .budgets = {[BUDGET_MOVE] = 1}},
	{.name = "moves, compact", .states = 26508, .compact = true, .no_silence = true, .budgets = {[BUDGET_MOVE] = 1}},
	{.name = "moves, sick", .states = 119306, .no_silence = true, .budgets = {[BUDGET_MOVE] = 1, [BUDGET_SICK] = 1}},
	{.name = "moves, restarted", .states = 113324, .no_silence = true, .budgets = {[BUDGET_MOVE] = 1, [BUDGET_RESTART] = 1}},
	{.name = "moves, dies", .states = 56128, .no_silence = true, .budgets = {[BUDGET_MOVE] = 1, [BUDGET_DEATH] = 1}},
	{.name = "moves, unanswered", .states = 695478, .no_silence = true, .budgets = {[BUDGET_MOVE] = 2, [BUDGET_UNANSWERED] = 1}},
	{.name = "there and back", .states = 248818, .no_silence = true, .budgets = {[BUDGET_MOVE] = 2}},

	/* What ends history needs what was settled, so that rule 3a cannot be switched off alone: its silence is, below. */
	{.name = "without HISTORY", .no_silence = true, .budgets = {[BUDGET_MOVE] = 1}, WITHOUT(HISTORY)},
	{.name = "flaw: names not looked at", .no_silence = true, .budgets = {[BUDGET_MOVE] = 3}, FLAWED(NO_NAMES)},
	{.name = "flaw: silence not seen", .budgets = {[BUDGET_MOVE] = 1}, FLAWED(NO_SILENCE)},

	{.name = "all: there, back and there", .only_all = true, .no_silence = true, .budgets = {[BUDGET_MOVE] = 3}},
	{.name = "all: everything", .only_all = true, .budgets = {1, 1, 1, 1, 0}},
};
