// Whose a TCP or UDP socket is, told when it begins and when its last holder lets it go.
//
// Who holds a socket is known as long as somebody does, and a table that is looked at again and again knows nobody of what came
// and went in between. So it is noted where it happens, in the caller's own context: a connection when it is begun, a UDP socket
// when it is opened, and every TCP socket when it is closed, since one that was accepted begins on behalf of whoever happens to
// run. With a connection goes the port that is called: the kernel forgets it where that is refused or reset. Nothing is noted of a
// packet. The notes lie in a ring of a fixed size; those that find no room are counted.
//
// No program is attached to a function of the kernel: where those are closed to BPF, tracepoints and control groups are not.
//
// The reader is rust/wire/src/birth_records.rs: both change together, with VERSION.
#include "helpers.h"

#define VERSION 2
#define NAME_BYTES 16 // TASK_COMM_LEN
#define DEEPEST 32    // MAX_PID_NS_LEVEL
#define PF_KTHREAD 0x00200000

enum kind { CONNECTED, OPENED, CLOSED };

enum { TCP_SYN_SENT = 2 };
enum { IPPROTO_TCP = 6, IPPROTO_UDP = 17 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

// All of it, as it is everywhere: the loader does not correct the step from one of an array to the next.
struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

typedef struct {
	u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	unsigned int flags;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	u64 start_boottime;
	struct cred *cred;
	struct css_set *cgroups;
	char comm[NAME_BYTES];
};

struct sock_common {
	u16 skc_dport;
};

struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
};

#pragma clang attribute pop

// What a control group's program is shown of a socket: the kernel translates each access, so all of it stands where it stands.
struct bpf_sock {
	u32 bound_dev_if;
	u32 family;
	u32 type;
	u32 protocol;
};

// The inode of the reader's PID namespace: numbers of processes are those that it uses.
const volatile u32 reader_namespace SECTION(".rodata") = 0;

struct {
	int (*type)[27]; // BPF_MAP_TYPE_RINGBUF
	int (*max_entries)[4 << 20];
} births SECTION(".maps");

// How many found no room.
struct {
	int (*type)[2]; // BPF_MAP_TYPE_ARRAY
	u32 *key;
	u64 *value;
	int (*max_entries)[1];
} lost SECTION(".maps");

struct birth {
	u16 size; // of the record, this included
	u8 version;
	u8 kind;
	u32 pid; // 0: the reader's namespace does not have it
	u64 cookie;
	u64 started_ns; // since the machine's start
	u64 cgroup;
	u32 uid;
	u16 peer_port; // in the order of the network; 0: not of a connection that is begun
	u16 zero;
	u8 name[NAME_BYTES];
};

_Static_assert(sizeof(struct birth) == 56, "the reader counts on it");

INLINE u32 process_id(struct task_struct *leader)
{
	struct pid *pid = read(leader->thread_pid);
	u32 level;

	if (!pid)
		return 0;
	level = read(pid->level);
	for (u32 at = 0; at < DEEPEST; at++) {
		if (at > level)
			break;
		struct pid_namespace *namespace = read(pid->numbers[at].ns);
		if (namespace && read(namespace->ns.inum) == reader_namespace)
			return read(pid->numbers[at].nr);
	}
	return 0;
}

// The number of the control group of version 2.
INLINE u64 cgroup_id(struct task_struct *task)
{
	struct css_set *set = read(task->cgroups);
	struct cgroup *group = set ? read(set->dfl_cgrp) : 0;
	struct kernfs_node *node = group ? read(group->kn) : 0;

	return node ? read(node->id) : 0;
}

// Every kind of program has a call of its own for the cookie, and takes what it was given only.
#define note(socket, kind, port)                                                                             \
	({                                                                                                   \
		struct birth *birth_ = begun(kind, port);                                                    \
		if (birth_) {                                                                                \
			birth_->cookie = bpf_get_socket_cookie(socket);                                      \
			bpf_ringbuf_submit(birth_, 0);                                                       \
		}                                                                                            \
	})

INLINE struct birth *begun(u8 kind, u16 port)
{
	struct task_struct *task = bpf_get_current_task(), *leader = read(task->group_leader);
	struct cred *cred = read(task->cred);
	struct birth *birth;
	u64 *missing;
	u32 first = 0;

	// What the kernel opens, or closes later on its own, says nothing of whose it is.
	if (!leader || !cred || read(task->flags) & PF_KTHREAD)
		return 0;
	birth = bpf_ringbuf_reserve(&births, sizeof(*birth), 0);
	if (!birth) {
		missing = bpf_map_lookup_elem(&lost, &first);
		if (missing)
			__sync_fetch_and_add(missing, 1);
		return 0;
	}
	birth->size = sizeof(*birth);
	birth->version = VERSION;
	birth->kind = kind;
	birth->pid = process_id(leader);
	birth->started_ns = read(leader->start_boottime);
	birth->cgroup = cgroup_id(task);
	birth->uid = read(cred->uid.val);
	birth->peer_port = port;
	birth->zero = 0;
	bpf_probe_read_kernel_str(birth->name, sizeof(birth->name), leader->comm);
	return birth;
}

SECTION("tp_btf/inet_sock_set_state")
int births_connected(u64 *context)
{
	struct sock *sock = (void *)context[0];

	// Only connect comes here: every other state may be entered on behalf of whoever happens to run.
	if (context[2] == TCP_SYN_SENT && sock->sk_protocol == IPPROTO_TCP)
		note(sock, CONNECTED, sock->__sk_common.skc_dport);
	return 0;
}

// These two answer whether a socket may be: it always may.
SECTION("cgroup/sock_create")
int births_opened(struct bpf_sock *sock)
{
	if (sock->protocol == IPPROTO_UDP)
		note(sock, OPENED, 0);
	return 1;
}

SECTION("cgroup/sock_release")
int births_closed(struct bpf_sock *sock)
{
	if (sock->protocol == IPPROTO_TCP)
		note(sock, CLOSED, 0);
	return 1;
}

// The kernel lends what tracing programs call only to those under a licence like its own.
char _license[] SECTION("license") = "Dual MIT/GPL";
