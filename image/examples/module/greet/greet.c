// A module with a file: who reads /sys/kernel/debug/greet is greeted, and counted.
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

static char *name = "the lab";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "who greets");

static struct dentry *file;
static unsigned int visitors;

// Not inlined, so that a debugger can stop at it.
static noinline unsigned int count_visitor(void) {
  visitors++;
  return visitors;
}

static int greet_show(struct seq_file *out, void *unused) {
  unsigned int visitor = count_visitor();

  seq_printf(out, "%s greets visitor %u, %s\n", name, visitor, current->comm);
  return 0;
}
DEFINE_SHOW_ATTRIBUTE(greet);

static int __init greet_init(void) {
  file = debugfs_create_file("greet", 0444, NULL, NULL, &greet_fops);
  if (IS_ERR(file))
    return PTR_ERR(file);
  pr_info("greet: ready\n");
  return 0;
}
module_init(greet_init);

MODULE_DESCRIPTION("Greets");
MODULE_LICENSE("GPL");
