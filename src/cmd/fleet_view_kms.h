/* What KeyServers say of their KMS plugins, for a person. */
#pragma once
#include <stdio.h>

struct fleet_view;

/* A line for each provider and server; nothing where there is no provider. */
void fleet_view_print_kms(FILE *out, const struct fleet_view *view);
/* One that is not well on a server, or names another key ID there than on the others; NULL: none. New string. */
char *fleet_view_kms_finding(const struct fleet_view *view);
