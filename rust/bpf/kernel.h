// What of the kernel the programs use: only the fields that are read, in any order and at any place. The loader finds where
// they really are in the running kernel's BTF and corrects every access (CO-RE), so one object runs on all of them.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

// Numbers of include/uapi/linux/bpf.h: what a program may call.
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*const bpf_get_socket_cookie)(void *sock) = (void *)46;
static long (*const bpf_probe_read_kernel)(void *into, u32 size, const void *from) = (void *)113;
static u64 (*const bpf_jiffies64)(void) = (void *)118;
static long (*const bpf_seq_write)(void *seq, const void *data, u32 length) = (void *)127;
static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sock) = (void *)137;
static struct tcp_timewait_sock *(*const bpf_skc_to_tcp_timewait_sock)(void *sock) = (void *)138;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;
static struct socket *(*const bpf_sock_from_file)(void *file) = (void *)162;
static struct unix_sock *(*const bpf_skc_to_unix_sock)(void *sock) = (void *)178;

// What the compiler can ask the loader about a field or a type.
#define FIELD_BYTE_OFFSET 0
#define FIELD_BYTE_SIZE 1
#define FIELD_EXISTS 2
#define FIELD_SHIFT_LEFT 4
#define FIELD_SHIFT_RIGHT 5
#define TYPE_EXISTS 0
#define exists(field) __builtin_preserve_field_info(field, FIELD_EXISTS)
#define type_exists(type) __builtin_preserve_type_info(*(type *)0, TYPE_EXISTS)

// Read of what the verifier does not know the type of; 0 when the memory is not there.
#define read(from) ({ typeof(from) value_ = (typeof(from))0; bpf_probe_read_kernel(&value_, sizeof(value_), &(from)); value_; })

// Has the processor get it, for what comes later.
#define touch(from) ({ u64 value_ = (from); asm volatile("" : : "r"(value_)); })

// A bit field may stand anywhere in a word of any size: the loader fills in where.
#define bits(base, field)                                                                                    \
	({                                                                                                   \
		const void *at_ = (const void *)(base) + __builtin_preserve_field_info((base)->field, FIELD_BYTE_OFFSET); \
		u64 value_ = 0;                                                                              \
		switch (__builtin_preserve_field_info((base)->field, FIELD_BYTE_SIZE)) {                     \
		case 1: value_ = *(const u8 *)at_; break;                                                    \
		case 2: value_ = *(const u16 *)at_; break;                                                   \
		case 4: value_ = *(const u32 *)at_; break;                                                   \
		case 8: value_ = *(const u64 *)at_; break;                                                   \
		}                                                                                            \
		value_ <<= __builtin_preserve_field_info((base)->field, FIELD_SHIFT_LEFT);                   \
		value_ >> __builtin_preserve_field_info((base)->field, FIELD_SHIFT_RIGHT);                   \
	})

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	long long counter;
} atomic64_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

typedef struct {
	u32 val;
} kuid_t;

struct inode {
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
};

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct task_struct {
	int tgid;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct nsproxy *nsproxy;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

struct nsproxy {
	struct net *net_ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		u8 u6_addr8[16];
	} in6_u;
};

struct hlist_node {
	struct hlist_node **pprev;
};

struct sock_common {
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	u16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	volatile u8 skc_state;
	u8 skc_reuse : 4;
	u8 skc_reuseport : 1;
	u8 skc_ipv6only : 1;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct hlist_node skc_node;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct sk_buff {
	struct sk_buff *next;
	unsigned int len;
};

struct sk_buff_head {
	struct sk_buff *next;
	u32 qlen;
};

struct numa_drop_counters {
	atomic_t drops0;
	atomic_t drops1;
};

struct sock {
	struct sock_common __sk_common;
	atomic_t sk_drops;
	struct numa_drop_counters *sk_drop_counters; // since 6.18, of UDP
	struct sk_buff_head sk_receive_queue;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	struct socket *sk_socket;
	refcount_t sk_wmem_alloc;
	kuid_t sk_uid;
	u16 sk_protocol;
	u16 sk_type;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct inet_sock {
	struct sock sk;
};

struct request_sock_queue {
	atomic_t qlen;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
	struct {
		u32 lrcvtime;
	} icsk_ack;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 write_seq;
	u32 snd_una;
	u32 srtt_us;
	u32 segs_in;
	u32 segs_out;
	u32 lsndtime;
	u32 rcv_tstamp;
	u32 total_retrans;
	u64 bytes_received;
	u64 bytes_acked;
	u64 bytes_sent;
	u64 bytes_retrans;
};

struct inet_timewait_sock {
	unsigned char tw_substate;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
};

struct udp_sock {
	struct inet_sock inet;
	int forward_deficit;
};

struct sockaddr_un {
	u16 sun_family;
};

struct unix_address {
	int len;
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
	int inq_len; // since 6.18
};

struct packet_sock {
	struct sock sk;
	int ifindex;
	u16 num;
};

struct sockaddr_vm {
	unsigned int svm_port;
	unsigned int svm_cid;
};

struct vsock_sock {
	struct sock sk;
	struct sockaddr_vm local_addr;
	struct sockaddr_vm remote_addr;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	u32 uid;
};

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

struct bpf_iter__unix {
	struct bpf_iter_meta *meta;
	struct unix_sock *unix_sk;
};

#pragma clang attribute pop
