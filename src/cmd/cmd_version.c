#include <stdio.h>

#include "cmd/command.h"

#ifndef KUBE_REKEY_VERSION
#define KUBE_REKEY_VERSION "0.1.0"
#endif

int cmd_version(struct command_context *context, struct error **err)
{
	(void)err;
	if (context->options.json)
		printf("{\"kind\":\"Version\",\"version\":\"%s\"}\n", KUBE_REKEY_VERSION);
	else
		printf("kube-rekey %s\n", KUBE_REKEY_VERSION);
	context->printed_document = true;
	return 0;
}
