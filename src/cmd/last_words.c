#include "cmd/last_words.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t whole_characters(const char *text, size_t max)
{
	size_t len = strlen(text);
	if (len <= max)
		return len;
	for (len = max; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
		len--;
	return len;
}

static int write_all(int fd, const char *text, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, text + done, len - done);
		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int last_words_write(const char *path, const char *text, struct error **err)
{
	const char *name = path ? path : LAST_WORDS_DEFAULT;
	struct stat found;
	/* Of a pipe that nobody reads the opening itself would wait. */
	int fd = open(name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (path ? O_CREAT : 0), 0600);
	if (fd < 0 && !path && errno == ENOENT)
		return 0;
	int rc = 0;
	if (fd < 0)
		rc = error_set(err, ERROR_IO, "%s: %s", name, strerror(errno));
	else if (fstat(fd, &found) < 0 || !S_ISREG(found.st_mode))
		rc = error_set(err, ERROR_IO, "%s: not a regular file", name);
	else if (ftruncate(fd, 0) < 0 || write_all(fd, text, whole_characters(text, LAST_WORDS_MAX)) < 0)
		rc = error_set(err, ERROR_IO, "%s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}
