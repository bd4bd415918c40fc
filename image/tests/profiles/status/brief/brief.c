/* A service that ends after a while, says what no terminal should obey, and leaves settings with a fault. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
  FILE *settings = fopen("/run/brief", "wx") ? fopen("/run/settings", "a") : NULL; /* Once. */
  if (settings) {
    fputs("setting\ttest.key\tone, two\tTEST.TXT\nfault\tTEST.TXT\t3\tthere is no key 'hostnme'\n", settings);
    fclose(settings);
  }
  printf("brief says \033[2J\033[31mhello\007\n");
  fflush(stdout);
  sleep(4);
  return 3;
}
