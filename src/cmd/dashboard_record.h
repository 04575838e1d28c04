/* A flight record as the dashboard shows it: each decision as the objects would have been. */
#pragma once
#include "cmd/dashboard_store.h"
#include "rotate/record.h"

/* Shows one decision. */
void dashboard_record_show(struct dashboard_store *store, const struct record *record, uint64_t now);
