/* The least that a sandbox costs here: what the kernel takes for it, with nobody's bookkeeping.
 *
 *   floor create LOWER SCRATCH   new namespaces, an overlay of LOWER (volatile: nothing is flushed at its end),
 *                                pivot_root, /proc, exec of /bin/true
 *   floor hold                   namespaces of its own until it is killed; prints their process id
 *   floor enter PID              join those namespaces, exec of /bin/true in them
 *
 * Not for use: no limits, no filters, no capabilities dropped, nothing kept.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

static void must(int failed, const char *what) {
    if (failed) err(1, "%s", what);
}

static void nothing(void) {
    execl("/bin/true", "true", (char *)0);
    err(1, "exec");
}

static int ended(pid_t child) {
    int status;
    must(waitpid(child, &status, 0) != child, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int create(const char *lower, const char *scratch) {
    char options[8192], merged[4096];
    pid_t child;
    must(chdir(scratch), "chdir");
    must(mkdir("upper", 0755) || mkdir("work", 0755) || mkdir("merged", 0755), "mkdir");
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work,volatile", lower, scratch, scratch);
    snprintf(merged, sizeof merged, "%s/merged", scratch);
    must(unshare(SPACES), "unshare");
    must((child = fork()) < 0, "fork");
    if (child) return ended(child);
    must(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0), "private");
    must(mount("overlay", merged, "overlay", 0, options), "overlay");
    must(chdir(merged), "chdir");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(mount("proc", "/proc", "proc", 0, 0), "proc");
    nothing();
    return 1;
}

static int hold(void) {
    pid_t child;
    must(unshare(SPACES), "unshare");
    must((child = fork()) < 0, "fork");
    if (!child) {
        for (;;) pause();
    }
    printf("%d\n", child);
    fflush(stdout);
    return ended(child);
}

static int enter(const char *pid) {
    static const char *names[] = {"ipc", "uts", "net", "pid", "mnt"};
    char path[64];
    pid_t child;
    for (unsigned one = 0; one < sizeof names / sizeof *names; one++) {
        snprintf(path, sizeof path, "/proc/%s/ns/%s", pid, names[one]);
        int space = open(path, O_RDONLY | O_CLOEXEC);
        must(space < 0 || setns(space, 0), path);
        close(space);
    }
    must((child = fork()) < 0, "fork");
    if (!child) nothing();
    return ended(child);
}

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "create")) return create(words[2], words[3]);
    if (count == 2 && !strcmp(words[1], "hold")) return hold();
    if (count == 3 && !strcmp(words[1], "enter")) return enter(words[2]);
    errx(2, "floor create LOWER SCRATCH | hold | enter PID");
}
