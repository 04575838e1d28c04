/* Replays a corpus folder through one fuzz target, as an ordinary test: fuzz_<name> FOLDER. A missing or empty folder
 * fails, so that a renamed one cannot pass unseen. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
	FILE *file = fopen(path, "rbe");
	if (!file) {
		perror(path);
		exit(1);
	}
	/* An exact allocation, so that a sanitizer sees a read one past the end. */
	fseek(file, 0, SEEK_END);
	size_t size = (size_t)ftell(file);
	rewind(file);
	uint8_t *data = malloc(size ? size : 1);
	if (!data || fread(data, 1, size, file) != size) {
		perror(path);
		exit(1);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 64;
	}
	struct dirent **names;
	int count = scandir(argv[1], &names, NULL, alphasort);
	if (count < 0) {
		perror(argv[1]);
		return 1;
	}
	int replayed = 0;
	for (int i = 0; i < count; i++) {
		if (names[i]->d_name[0] != '.') {
			char path[4096];
			snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
			/* The name of a crashing input must be on the terminal before it crashes. */
			fprintf(stderr, "%s\n", path);
			replay(path);
			replayed++;
		}
		free(names[i]);
	}
	free(names);
	if (!replayed)
		fprintf(stderr, "%s: no inputs\n", argv[1]);
	return replayed ? 0 : 1;
}
