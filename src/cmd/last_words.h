/* What Kubernetes shows of a container that ended: its termination message. */
#pragma once
#include "base/alloc.h"
#include "base/error.h"

#define LAST_WORDS_DEFAULT "/dev/termination-log" /* a container's terminationMessagePath, unless it says otherwise */
#define LAST_WORDS_MAX 4096                       /* bytes that the kubelet reads, of the end */

/* Replaces the content of `path` by the beginning of `text`, LAST_WORDS_MAX bytes at most and whole characters. path NULL: LAST_WORDS_DEFAULT, and
 * 0 where nothing is there, as everywhere but in a pod. A path that is named is made where nothing is there (0600). -ERROR_IO naming the file; what is no regular
 * file is left alone. */
_must_check_ int last_words_write(const char *path, const char *text, struct error **err);
