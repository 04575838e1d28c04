#pragma once
/* clang-format off */ /* it would put each field on a line of its own */
#include "fleet.h"

static const struct scenario scenarios[] = {
	{.name = "plain", .servers = 3, .workers = true, .history = true},
	{.name = "down", .servers = 3, .budgets = {[BUDGET_STOP] = 2}},
	{.name = "2abort", .servers = 2, .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1, [BUDGET_LATE] = 1}},
	{.name = "2wiped", .servers = 2, .budgets = {[BUDGET_WIPE] = 1, [BUDGET_STALL] = 1, [BUDGET_ABORT] = 1, [BUDGET_LATE] = 1}},
	{.name = "2put-back", .servers = 2, .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_LATE] = 1}},
	{.name = "2down-old", .servers = 2, .budgets = {[BUDGET_STOP] = 1, [BUDGET_PUT_BACK] = 1}},
	{.name = "2restored", .servers = 2, .budgets = {[BUDGET_RESTORE] = 1, [BUDGET_LATE] = 1, [BUDGET_STALL] = 1}},
	{.name = "2alone", .servers = 2, .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_ALONE] = 1}},
	{.name = "1abort", .servers = 3, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "1stall", .servers = 3, .budgets = {[BUDGET_STALL] = 1}},
	{.name = "down-old", .servers = 3, .budgets = {[BUDGET_STOP] = 1, [BUDGET_PUT_BACK] = 1}},
	{.name = "takeover", .servers = 3, .budgets = {[BUDGET_STALL] = 1, [BUDGET_LATE] = 1, [BUDGET_RESTART] = 1}},
	{.name = "abort", .servers = 3, .budgets = {[BUDGET_ABORT] = 1, [BUDGET_STALL] = 1, [BUDGET_LATE] = 1}},
	{.name = "abort-workers", .servers = 3, .workers = true, .budgets = {[BUDGET_ABORT] = 1}},
	{.name = "wiped", .servers = 3, .budgets = {[BUDGET_WIPE] = 1, [BUDGET_STALL] = 1, [BUDGET_ABORT] = 1, [BUDGET_LATE] = 1}},
	{.name = "restored", .servers = 3, .budgets = {[BUDGET_RESTORE] = 1, [BUDGET_LATE] = 1, [BUDGET_STALL] = 1}},
	{.name = "put-back", .servers = 3, .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_LATE] = 1}},
	{.name = "alone", .servers = 3, .budgets = {[BUDGET_PUT_BACK] = 1, [BUDGET_ALONE] = 2}},
	{.name = "forged", .servers = 2, .budgets = {[BUDGET_FORGE] = 1}},
	{.name = "edited", .servers = 2, .budgets = {[BUDGET_EDIT] = 1, [BUDGET_PUT_BACK] = 1}},
	{.name = "blind", .servers = 2, .blind = true, .history = true},
};
