/*
 * Local time that says when it is none. musl's tzset(3) takes UTC, without a word, for a TZ that is no rule (POSIX, "Environment
 * Variables") and names no file of a zone, and it reads no other setting than TZ and /etc/localtime. Each program says so once,
 * at its first look at the local time.
 *
 * The linker puts these in the place of the functions (ld(1), --wrap), in musl's own calls, as that of ctime(3), too.
 */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct tm *__real_localtime(const time_t *seconds);
struct tm *__real_localtime_r(const time_t *seconds, struct tm *result);
time_t __real_mktime(struct tm *time);
void bb_error_msg(const char *format, ...);

#define ZONES "/usr/share/zoneinfo/"
#define HINT "hint: a rule needs no file: TZ=CET-1CEST,M3.5.0,M10.5.0/3"

/* The first bytes of a file up to the end of a line, as a string; 0 when there are none. */
static int read_word(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, size - 1);

	if (file >= 0)
		close(file);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return *text != '\0';
}

/* Whether it is a file of a zone (tzfile(5)). */
static int is_zone_file(const char *path)
{
	char magic[sizeof("TZif")];

	return read_word(path, magic, sizeof(magic)) && strcmp(magic, "TZif") == 0;
}

/* Whether a TZ for which musl takes UTC means that. */
static int means_utc(const char *zone)
{
	static const char *const names[] = { "GMT", "GMT+0", "GMT-0", "GMT0", "Greenwich", "UCT", "Universal", "UTC", "Zulu", NULL };
	const char *const *name;
	char path[sizeof(ZONES) + NAME_MAX];

	if (*zone == '<' || (strncmp(zone, "UTC", 3) == 0 && !isalpha(zone[3])))
		return 1; /* A rule whose own name is UTC. */
	if (*zone == ':')
		zone++;
	snprintf(path, sizeof(path), "%s%s", *zone == '/' || *zone == '.' ? "" : ZONES, zone);
	if (is_zone_file(path))
		return 1;
	if (strncmp(zone, "Etc/", 4) == 0)
		zone += 4;
	for (name = names; *name; name++)
		if (strcmp(zone, *name) == 0)
			return 1;
	return 0;
}

static void check_zone(void)
{
	static const char *const unread[] = { "/etc/TZ", "/etc/timezone", NULL };
	static int is_checked;
	const char *const *file;
	const char *zone = getenv("TZ");
	struct stat status;
	char text[NAME_MAX];

	if (is_checked)
		return;
	is_checked = 1;
	tzset();
	if (strcmp(tzname[0], "UTC") != 0)
		return;
	if (zone) {
		if (*zone && !means_utc(zone))
			bb_error_msg("TZ=%s names no file in " ZONES ", so times are in UTC; " HINT, zone);
		return;
	}
	if (lstat("/etc/localtime", &status) == 0) {
		if (!is_zone_file("/etc/localtime"))
			bb_error_msg("/etc/localtime leads to no file of a time zone, so times are in UTC; " HINT);
		return;
	}
	for (file = unread; *file; file++)
		if (read_word(*file, text, sizeof(text)) && !means_utc(text))
			bb_error_msg("nothing reads %s, so times are in UTC; hint: export TZ in /etc/profile", *file);
}

struct tm *__wrap_localtime(const time_t *seconds)
{
	check_zone();
	return __real_localtime(seconds);
}

struct tm *__wrap_localtime_r(const time_t *seconds, struct tm *result)
{
	check_zone();
	return __real_localtime_r(seconds, result);
}

time_t __wrap_mktime(struct tm *time)
{
	check_zone();
	return __real_mktime(time);
}
