// What every program is written with: the kernel's numbers of what may be called, and how to read what the verifier does not know.
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
static void *(*const bpf_get_current_task)(void) = (void *)35;
static u64 (*const bpf_get_socket_cookie)(void *sock) = (void *)46;
static long (*const bpf_probe_read_kernel)(void *into, u32 size, const void *from) = (void *)113;
static long (*const bpf_probe_read_kernel_str)(void *into, u32 size, const void *from) = (void *)115;
static u64 (*const bpf_jiffies64)(void) = (void *)118;
static long (*const bpf_seq_write)(void *seq, const void *data, u32 length) = (void *)127;
static void *(*const bpf_ringbuf_reserve)(void *map, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
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
