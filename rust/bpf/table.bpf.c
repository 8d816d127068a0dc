// The socket table's view of the kernel: one binary record of each socket, written into an iterator's file.
//
// table_files tells of every socket that a descriptor leads to, once for each such descriptor. What none leads to
// (TIME_WAIT, orphans, connections that nobody accepted yet, the kernel's own) comes from table_tcp, table_udp and
// table_unix; which namespaces these are to be asked in, table_threads tells. Where the kernel counts no more TCP or UDP
// sockets than descriptors led to (LISTED), nobody needs to walk through these two lists. A socket that has a file may still
// be in no table of descriptors (on its way through a Unix socket, or registered with io_uring), and only the reader can find
// that out: of these the three name the cookie alone, and everything only where the reader put the cookie into `wanted`: one
// that it met and does not know.
//
// The reader is rust/engine/src/table/record.rs: both change together, with VERSION.
#include "kernel.h"

#define VERSION 2
#define LONGEST_NAME 110 // struct sockaddr_un

enum class { CLASS_SEEN, CLASS_INET, CLASS_INET6, CLASS_UNIX, CLASS_NUMBERS, CLASS_UNKNOWN, CLASS_THREAD };

enum flags {
	REUSE_ADDRESS = 1,
	REUSE_PORT = 2,
	ONLY_IPV6 = 4,
	WHOLE = 8,
	FLOW = 16,
	OWNED = 32,
	KNOWS_UID = 64,
	FILELESS = 128, // no descriptor can lead to it: the kernel's own, or what nobody accepted yet
	LISTED = 256,	// its protocol's list has it, and sockstat counts it
	BEGUN = 512,	// of a listener: connections have begun that are not yet one, and stand in the list
};

enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_PACKET = 17, AF_BLUETOOTH = 31, AF_VSOCK = 40 };
enum { SOCK_STREAM = 1, SOCK_DGRAM = 2 };
enum { IPPROTO_TCP = 6, IPPROTO_UDP = 17 };
enum { TCP_ESTABLISHED = 1, TCP_SYN_RECV = 3, TCP_TIME_WAIT = 6, TCP_CLOSE = 7, TCP_LISTEN = 10, TCP_NEW_SYN_RECV = 12 };

// The keys are cookies.
struct {
	int (*type)[1]; // BPF_MAP_TYPE_HASH
	u64 *key;
	u8 *value;
	int (*max_entries)[65536];
	int (*map_flags)[1]; // no memory before it is used
} wanted SECTION(".maps");

struct head {
	u16 size; // of the record, this included
	u8 version;
	u8 class;
	u64 cookie;
} __attribute__((packed, aligned(4)));

struct body {
	struct head head;
	u32 namespace;
	u64 inode;
	u16 family;
	u16 protocol;
	u8 kind;
	u8 state;
	u16 flags;
	u32 pid;
	u32 descriptor;
	u32 uid;
	u32 interface;
	u32 receive_queue;
	u32 send_queue;
	u32 dropped;
} __attribute__((packed, aligned(4)));

// A thread in another network namespace than the reader; the namespace stands in the place of the cookie.
struct thread {
	struct head head;
	u32 pid;
	u32 thread;
} __attribute__((packed, aligned(4)));

struct flow {
	u64 received_bytes;
	u64 acknowledged_bytes;
	u64 sent_bytes;
	u64 sent_again_bytes;
	u32 received_segments;
	u32 sent_segments;
	u32 round_trip_us;
	u32 retransmits;
	u32 ticks_since_sent;
	u32 ticks_since_received;
	u32 ticks_since_answer;
} __attribute__((packed, aligned(4)));

struct record {
	struct body body;
	struct flow flow;
} __attribute__((packed, aligned(4)));

struct inet {
	u16 local_port;
	u16 peer_port;
	u32 local;
	u32 peer;
};

struct inet6 {
	u16 local_port;
	u16 peer_port;
	u8 local[16];
	u8 peer[16];
} __attribute__((packed, aligned(4)));

struct numbers {
	u32 local[2];
	u32 peer[2];
};

struct names {
	u64 peer_inode;
	u16 local_length; // of the 112 bytes that follow
	u16 peer_length;  // of the 112 bytes after those
} __attribute__((packed, aligned(4)));

struct name {
	u8 bytes[112];
};

_Static_assert(sizeof(struct head) == 12 && sizeof(struct body) == 60 && sizeof(struct flow) == 60, "the reader counts on it");
_Static_assert(sizeof(struct inet) == 12 && sizeof(struct inet6) == 36 && sizeof(struct names) == 12, "the reader counts on it");

INLINE u16 swapped(u16 value)
{
	return __builtin_bswap16(value);
}

INLINE u64 inode_of(struct socket *socket)
{
	struct socket_alloc *whole = (void *)socket;

	return socket ? read(whole->vfs_inode.i_ino) : 0;
}

// What the reader's PID namespace calls it: an iterator shows only what is in that one.
INLINE u32 thread_id(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;
	u32 level = bpf_get_current_task_btf()->thread_pid->level;

	return pid ? read(pid->numbers[level & 31].nr) : 0;
}

INLINE u32 process_id(struct task_struct *task)
{
	// In the first namespace numbers are the kernel's own: nothing is looked up, for each descriptor anew.
	if (!bpf_get_current_task_btf()->thread_pid->level)
		return task->tgid;
	return thread_id(task->group_leader);
}

// Bytes that wait in a Unix socket; as unix_diag counts, but of many small messages only the first.
INLINE u32 unix_receive_queue(struct unix_sock *sock, u16 kind)
{
	struct sk_buff *first = (void *)&sock->sk.sk_receive_queue, *buffer;
	u32 bytes = 0;

	if (kind == SOCK_STREAM && exists(sock->inq_len))
		return sock->inq_len;
	buffer = read(sock->sk.sk_receive_queue.next);
	for (int i = 0; i < 64; i++) {
		if (!buffer || buffer == first)
			break;
		bytes += read(buffer->len);
		if (kind == SOCK_DGRAM)
			break;
		buffer = read(buffer->next);
	}
	return bytes;
}

INLINE void queues(struct body *body, struct sock *sock, struct tcp_sock *tcp, struct unix_sock *unix_sock)
{
	u32 waiting;

	if (body->state == TCP_LISTEN) {
		body->receive_queue = unix_sock ? sock->sk_receive_queue.qlen : sock->sk_ack_backlog;
		body->send_queue = sock->sk_max_ack_backlog;
		return;
	}
	if (tcp) {
		waiting = tcp->rcv_nxt - tcp->copied_seq;
		body->receive_queue = (s32)waiting > 0 ? waiting : 0;
		body->send_queue = tcp->write_seq - tcp->snd_una;
		return;
	}
	// The socket itself holds one of the count.
	waiting = sock->sk_wmem_alloc.refs.counter;
	body->send_queue = waiting ? waiting - 1 : 0;
	if (unix_sock) {
		body->receive_queue = unix_receive_queue(unix_sock, body->kind);
		return;
	}
	waiting = sock->sk_backlog.rmem_alloc.counter;
	if (body->protocol == IPPROTO_UDP && (body->family == AF_INET || body->family == AF_INET6))
		waiting -= read(((struct udp_sock *)sock)->forward_deficit);
	body->receive_queue = (s32)waiting > 0 ? waiting : 0;
}

INLINE u32 dropped(struct sock *sock)
{
	struct numa_drop_counters *counters;

	if (exists(sock->sk_drop_counters)) {
		counters = sock->sk_drop_counters;
		if (counters)
			return counters->drops0.counter + counters->drops1.counter;
	}
	return sock->sk_drops.counter;
}

INLINE void flow_of(struct flow *flow, struct tcp_sock *tcp)
{
	u32 now = bpf_jiffies64();

	flow->received_bytes = tcp->bytes_received;
	flow->acknowledged_bytes = tcp->bytes_acked;
	flow->sent_bytes = tcp->bytes_sent;
	flow->sent_again_bytes = tcp->bytes_retrans;
	flow->received_segments = tcp->segs_in;
	flow->sent_segments = tcp->segs_out;
	flow->round_trip_us = tcp->srtt_us >> 3;
	flow->retransmits = tcp->total_retrans;
	flow->ticks_since_sent = now - tcp->lsndtime;
	flow->ticks_since_received = now - tcp->inet_conn.icsk_ack.lrcvtime;
	flow->ticks_since_answer = now - tcp->rcv_tstamp;
}

// One TCP socket is spread over a dozen cache lines, and of a hundred thousand none is near. Asked for together, before anything
// depends on one of them, they come together: that takes half of the time of one after the other.
INLINE void fetch(struct tcp_sock *tcp)
{
	struct sock *sock = &tcp->inet_conn.icsk_inet.sk;

	touch(sock->__sk_common.skc_cookie.counter);
	touch(sock->sk_drops.counter);
	touch(tcp->copied_seq);
	touch(tcp->write_seq);
	touch(tcp->rcv_nxt);
	touch(tcp->segs_in);
	touch(tcp->bytes_acked);
	touch(tcp->total_retrans);
	touch(tcp->inet_conn.icsk_ack.lrcvtime);
	if (exists(sock->sk_drop_counters))
		touch((u64)sock->sk_drop_counters);
}

INLINE void common(struct body *body, struct sock_common *sock)
{
	body->namespace = sock->skc_net.net->ns.inum;
	body->family = sock->skc_family;
	body->state = sock->skc_state;
	body->interface = sock->skc_bound_dev_if;
	body->head.version = VERSION;
	// Given once, by whoever asks first; never used twice since the start of the machine.
	body->head.cookie = sock->skc_cookie.counter;
	if (!body->head.cookie)
		body->head.cookie = bpf_get_socket_cookie(sock);
	if (bits(sock, skc_reuse))
		body->flags |= REUSE_ADDRESS;
	if (bits(sock, skc_reuseport))
		body->flags |= REUSE_PORT;
	if (bits(sock, skc_ipv6only))
		body->flags |= ONLY_IPV6;
}

INLINE void write(struct seq_file *seq, struct record *record, const void *addresses, u32 length)
{
	u32 start = record->body.flags & FLOW ? sizeof(struct record) : sizeof(struct body);

	record->body.head.size = start + length;
	bpf_seq_write(seq, record, start);
	if (length)
		bpf_seq_write(seq, addresses, length);
}

INLINE void write_inet(struct seq_file *seq, struct record *record, struct sock_common *sock)
{
	if (record->body.family == AF_INET) {
		struct inet inet = {
			.local_port = sock->skc_num,
			.peer_port = swapped(sock->skc_dport),
			.local = sock->skc_rcv_saddr,
			.peer = sock->skc_daddr,
		};

		record->body.head.class = CLASS_INET;
		write(seq, record, &inet, sizeof(inet));
	} else if (exists(sock->skc_v6_rcv_saddr)) {
		struct inet6 inet6 = {
			.local_port = sock->skc_num,
			.peer_port = swapped(sock->skc_dport),
		};

		bpf_probe_read_kernel(inet6.local, sizeof(inet6.local), &sock->skc_v6_rcv_saddr);
		bpf_probe_read_kernel(inet6.peer, sizeof(inet6.peer), &sock->skc_v6_daddr);
		record->body.head.class = CLASS_INET6;
		write(seq, record, &inet6, sizeof(inet6));
	}
}

INLINE u32 name_length(struct unix_address *address)
{
	u32 length = address ? read(address->len) : 0;

	return length <= LONGEST_NAME ? length : 0;
}

INLINE void write_name(struct seq_file *seq, struct unix_address *address, u32 length)
{
	struct name name = {};

	if (length && length <= LONGEST_NAME)
		bpf_probe_read_kernel(name.bytes, length, address->name);
	bpf_seq_write(seq, &name, sizeof(name));
}

INLINE void write_unix(struct seq_file *seq, struct record *record, struct unix_sock *sock)
{
	struct unix_address *local = read(sock->addr), *remote = 0;
	struct unix_sock *peer = (void *)sock->peer;
	struct names names = {};

	// A listener's field may hold what is no peer.
	if (peer && record->body.state != TCP_LISTEN) {
		names.peer_inode = inode_of(read(peer->sk.sk_socket));
		remote = read(peer->addr);
	}
	names.local_length = name_length(local);
	names.peer_length = name_length(remote);
	record->body.head.class = CLASS_UNIX;
	record->body.head.size = sizeof(struct body) + sizeof(names) + 2 * sizeof(struct name);
	bpf_seq_write(seq, record, sizeof(struct body));
	bpf_seq_write(seq, &names, sizeof(names));
	write_name(seq, local, names.local_length);
	write_name(seq, remote, names.peer_length);
}

INLINE void write_numbers(struct seq_file *seq, struct record *record, struct sock *sock)
{
	struct numbers numbers = {};

	// Of what is a module here, the kernel's own BTF does not tell: then the socket is told of without its address.
	record->body.head.class = CLASS_NUMBERS;
	if (record->body.family == AF_PACKET && type_exists(struct packet_sock)) {
		struct packet_sock *packet = (void *)sock;

		numbers.local[0] = read(packet->ifindex);
		numbers.local[1] = swapped(read(packet->num));
	} else if (record->body.family == AF_VSOCK && type_exists(struct vsock_sock)) {
		struct vsock_sock *vsock = (void *)sock;

		numbers.local[0] = read(vsock->local_addr.svm_cid);
		numbers.local[1] = read(vsock->local_addr.svm_port);
		numbers.peer[0] = read(vsock->remote_addr.svm_cid);
		numbers.peer[1] = read(vsock->remote_addr.svm_port);
	} else {
		record->body.head.class = CLASS_UNKNOWN;
		write(seq, record, &numbers, 0);
		return;
	}
	write(seq, record, &numbers, sizeof(numbers));
}

// Everything of a whole socket; `record` has its owner and inode already. One function for all programs: it is most of the object.
static __attribute__((noinline)) int tell(struct seq_file *seq, struct record *record, struct sock *sock)
{
	struct body *body = &record->body;
	struct tcp_sock *tcp = 0;
	struct unix_sock *unix_sock = 0;

	// A raw socket may have TCP's number as well, which is all that some kernels look at.
	if (sock->sk_type == SOCK_STREAM && sock->sk_protocol == IPPROTO_TCP)
		tcp = bpf_skc_to_tcp_sock(sock);
	if (tcp)
		fetch(tcp);
	common(body, &sock->__sk_common);
	body->kind = sock->sk_type;
	body->protocol = sock->sk_protocol;
	body->uid = sock->sk_uid.val;
	body->dropped = dropped(sock);
	body->flags |= WHOLE | KNOWS_UID;
	switch (body->family) {
	case AF_INET:
	case AF_INET6:
		queues(body, sock, tcp, 0);
		if (sock->__sk_common.skc_node.pprev)
			body->flags |= LISTED;
		if (tcp && body->state == TCP_LISTEN && tcp->inet_conn.icsk_accept_queue.qlen.counter)
			body->flags |= BEGUN;
		if (tcp && body->state != TCP_LISTEN) {
			body->flags |= FLOW;
			flow_of(&record->flow, tcp);
		}
		write_inet(seq, record, &sock->__sk_common);
		break;
	case AF_UNIX:
		unix_sock = bpf_skc_to_unix_sock(sock);
		if (!unix_sock)
			break;
		queues(body, sock, 0, unix_sock);
		write_unix(seq, record, unix_sock);
		break;
	case AF_PACKET:
	case AF_VSOCK:
	case AF_BLUETOOTH:
		queues(body, sock, 0, 0);
		write_numbers(seq, record, sock);
		break;
	}
	return 0;
}

SECTION("iter/task_file")
int table_files(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct record record = {};
	struct socket *socket;
	struct sock *sock;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sock = socket->sk;
	if (!sock)
		return 0;
	record.body.inode = file->f_inode->i_ino;
	record.body.pid = process_id(task);
	record.body.descriptor = context->fd;
	record.body.flags = OWNED;
	tell(context->meta->seq, &record, sock);
	return 0;
}

SECTION("iter/task")
int table_threads(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct thread told = { .head = { .size = sizeof(told), .version = VERSION, .class = CLASS_THREAD } };
	struct nsproxy *proxy;

	if (!task)
		return 0;
	proxy = task->nsproxy;
	if (!proxy || proxy->net_ns == bpf_get_current_task_btf()->nsproxy->net_ns)
		return 0;
	told.head.cookie = proxy->net_ns->ns.inum;
	told.pid = process_id(task);
	told.thread = thread_id(task);
	bpf_seq_write(context->meta->seq, &told, sizeof(told));
	return 0;
}

// A socket (the first part of what the protocol makes of it) as the protocol's lists have it. Of what has a file only the cookie, as
// that is told of elsewhere; unless the reader wants to hear more.
INLINE void list(struct seq_file *seq, struct sock *sock)
{
	struct head head = { .size = sizeof(head), .version = VERSION, .class = CLASS_SEEN };
	struct record record = {};
	struct socket *socket;

	if (!sock)
		return;
	socket = sock->sk_socket;
	if (socket && socket->file) {
		head.cookie = sock->__sk_common.skc_cookie.counter;
		if (!head.cookie)
			head.cookie = bpf_get_socket_cookie(sock);
		u64 cookie = head.cookie;
		if (!bpf_map_lookup_elem(&wanted, &cookie)) {
			bpf_seq_write(seq, &head, sizeof(head));
			return;
		}
	}
	record.body.inode = inode_of(socket);
	if (!socket || !socket->file)
		record.body.flags = FILELESS;
	tell(seq, &record, sock);
}

SECTION("iter/tcp")
int table_tcp(struct bpf_iter__tcp *context)
{
	struct sock_common *half = context->sk_common;
	struct record record = {};
	struct tcp_timewait_sock *waiting;
	struct tcp_sock *tcp;

	if (!half)
		return 0;
	if (half->skc_state != TCP_TIME_WAIT && half->skc_state != TCP_NEW_SYN_RECV) {
		tcp = bpf_skc_to_tcp_sock(half);
		list(context->meta->seq, (void *)tcp);
		return 0;
	}
	common(&record.body, half);
	record.body.flags |= FILELESS;
	record.body.kind = SOCK_STREAM;
	record.body.protocol = IPPROTO_TCP;
	if (record.body.state == TCP_NEW_SYN_RECV) {
		record.body.state = TCP_SYN_RECV;
		record.body.uid = context->uid;
		record.body.flags |= KNOWS_UID;
	} else {
		// An orphan in FIN_WAIT2 is kept as small as one in TIME_WAIT, and says here what it is.
		waiting = bpf_skc_to_tcp_timewait_sock(half);
		if (waiting)
			record.body.state = waiting->tw_sk.tw_substate;
	}
	write_inet(context->meta->seq, &record, half);
	return 0;
}

SECTION("iter/udp")
int table_udp(struct bpf_iter__udp *context)
{
	list(context->meta->seq, (void *)context->udp_sk);
	return 0;
}

SECTION("iter/unix")
int table_unix(struct bpf_iter__unix *context)
{
	list(context->meta->seq, (void *)context->unix_sk);
	return 0;
}

// The kernel lends sock_from_file, skc_to_tcp_sock and their like only to programs under a licence like its own.
char _license[] SECTION("license") = "Dual MIT/GPL";
