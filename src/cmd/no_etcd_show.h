/* What --no-etcd prints, for people and as JSON. */
#pragma once
#include "base/json_writer.h"
#include "engine/api_rewrite.h"

void no_etcd_print_census(const struct api_servers *servers, const struct api_census *census,
			  const struct strings *left_out);
void no_etcd_print_status(const struct api_servers *servers, const struct kube_resource *const *resources,
			  size_t count);
/* `whole`: these resources are all that is encrypted, as far as servers show it. */
void no_etcd_print_rewrite(const struct api_rewrite *made, const struct strings *resources, bool whole,
			   const struct strings *left_out, bool proved);
/* Members of an object that is open. */
void no_etcd_write_servers(struct json_writer *w, const struct api_servers *servers);
void no_etcd_write_census(struct json_writer *w, const struct api_census *census);
/* The KMS key that all is under; null for no census, and where there is none or several. */
void no_etcd_write_new_key(struct json_writer *w, const struct api_census *census);
void no_etcd_write_keys(struct json_writer *w, const struct api_servers *servers,
			const struct kube_resource *const *resources, size_t count);
