/* Runs a fuzz target over files instead of searching: replay [--once] FILE|DIRECTORY...
 *
 * So every compiler can do it, in seconds. Each input is run as it is and, but for --once, in two deterministic
 * mutations for each of its first bytes, which finds what a corpus only grazes; where WEFT_TEST_SLOW is set, for one in
 * 16 of them. The last line says how many were run; without a single file it fails. */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

#define BYTES_MAX     (1u << 20)
#define MUTATIONS_MAX 64u
#define SLOW_STEP     16u

static unsigned long runs, files;
static bool is_once;

static void run(const uint8_t *p, size_t n)
{
    LLVMFuzzerTestOneInput(p, n);
    runs++;
}

static void run_mutated(uint8_t *p, size_t n)
{
    size_t step = getenv("WEFT_TEST_SLOW") ? SLOW_STEP : 1;

    for (size_t i = 0; i < n && i < MUTATIONS_MAX; i += step) {
        uint8_t was = p[i];
        p[i] = (uint8_t)(was ^ (1u << (i & 7)));
        run(p, n);
        p[i] = (uint8_t)(was + 0x7f);
        run(p, i + 1 + (n - i) / 2);
        p[i] = was;
    }
}

static void run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = malloc(BYTES_MAX), *exact;
    size_t n;

    if (!f || !bytes) {
        perror(path);
        exit(1);
    }
    n = fread(bytes, 1, BYTES_MAX, f);
    fclose(f);
    exact = fuzz_copy(bytes, n);
    free(bytes);
    fprintf(stderr, "%s\n", path); /* in the log when the next line is a broken promise */
    run(exact, n);
    if (!is_once)
        run_mutated(exact, n);
    free(exact);
    files++;
}

static void run_all(const char *path)
{
    struct stat st;
    struct dirent *e;
    DIR *d;

    if (stat(path, &st) != 0) {
        perror(path);
        exit(1);
    }
    if (!S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    d = opendir(path);
    MUST(d);
    while ((e = readdir(d)) != NULL) {
        char name[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        run_all(name);
    }
    closedir(d);
}

int main(int argc, char **argv)
{
    is_once = argc > 1 && strcmp(argv[1], "--once") == 0;
    run(NULL, 0);
    for (int i = 1 + is_once; i < argc; i++)
        run_all(argv[i]);
    printf("%lu files, %lu runs\n", files, runs);
    return files == 0;
}
