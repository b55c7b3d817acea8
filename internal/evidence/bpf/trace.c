// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the kernel does to the lab's packets and sockets, told by its own tracepoints: tcp_retransmit_skb, tcp_retransmit_synack,
// inet_sock_set_state, kfree_skb and timer_expire_entry. An event goes into the ring only if it belongs to one of the lab's network namespaces.
//
// Nothing wakes a reader (BPF_RB_NO_WAKEUP): a program that woke at each packet would disturb the timers that are under test. The ring
// is read when the lab looks at its sockets anyway.
//
// tp_btf only, because some kernels have no kprobes.

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// What this kernel's tracepoints have, by its BTF; set before loading, so that the verifier drops what is not there.
const volatile __u8 has_err = 0;   // tcp_retransmit_skb has its error as third argument (6.18; before, it is told on success only)
const volatile __u8 has_rx_sk = 0; // kfree_skb has the receiving socket as fifth argument (since 6.11)

// What TCP's timers call, by /proc/kallsyms; set before loading. 0: this kernel has none of the name.
const volatile __u64 write_timer = 0, delack_timer = 0, keepalive_timer = 0, request_timer = 0, timewait_timer = 0;

enum kind { RETRANSMIT = 1, SYNACK = 2, STATE = 3, DROP = 4, EXPIRE = 5 };

// Which timer it is, in count. WRITE is the one of retransmissions, tail loss probes, reordering and window probes.
enum { WRITE = 1, DELACK = 2, KEEPALIVE = 3, REQUEST = 4, TIMEWAIT = 5 };

enum { AF_INET = 2, AF_INET6 = 10, PROTO_TCP = 6, SYN_RECV = 3, ETH_IP = 0x0800, ETH_IPV6 = 0x86dd };

// No padding. bpf2go makes the Go type of it.
struct event {
	__u64 ns;      // CLOCK_MONOTONIC
	__u64 bucket;  // EXPIRE: the jiffy in which the timer wheel had it due
	__u64 expires; // EXPIRE: the jiffy that was asked for, before the wheel rounded it up
	__u8 kind;
	__u8 host; // by the map; 255: the packet carries no namespace any more
	__u8 family;
	__u8 protocol;
	__u8 old_state; // STATE
	__u8 state;     // of the socket; for STATE the new one
	__u8 ca_state;
	__u8 pending; // icsk_pending
	__u8 retransmits;
	__u8 backoff;
	__u8 flags; // DROP: of the TCP header
	__u8 armed; // the timer that repeats it is: no while it fires
	__u16 sport;
	__u16 dport;
	__s32 err;
	__u32 seq;
	__u32 end_seq; // RETRANSMIT; DROP: the acknowledgement number
	__u32 rto;     // jiffies
	__u32 cwnd;
	__u32 ssthresh;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 lost_out;
	__u32 sacked_out;
	__u32 reason;
	__u32 count; // DROP: of bytes of data; SYNACK: num_timeout; EXPIRE: which timer
	__u8 saddr[16];
	__u8 daddr[16];
	char where[48]; // DROP: the function
};

const struct event *unused __attribute__((unused)); // keeps the type for bpf2go

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

// hosts: inode of a network namespace -> host.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u8);
} hosts SEC(".maps");

// addresses: the lab's, as in an event. Only for packets that carry no namespace any more.
struct address {
	__u8 b[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

static __always_inline int host_of(struct net *net)
{
	__u32 inum = BPF_CORE_READ(net, ns.inum);
	__u8 *host = bpf_map_lookup_elem(&hosts, &inum);
	return host ? *host : -1;
}

static __always_inline struct event *begin(int kind, int host)
{
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		__u32 zero = 0;
		__u64 *n = bpf_map_lookup_elem(&lost, &zero);
		if (n)
			*n += 1;
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->ns = bpf_ktime_get_ns();
	e->kind = kind;
	e->host = host;
	return e;
}

static __always_inline void end(struct event *e)
{
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

// addresses of a socket of any sort: full, request, time-wait.
static __always_inline void common(struct event *e, struct sock_common *c)
{
	e->family = BPF_CORE_READ(c, skc_family);
	e->state = BPF_CORE_READ(c, skc_state);
	e->protocol = PROTO_TCP;
	e->sport = BPF_CORE_READ(c, skc_num);
	e->dport = __builtin_bswap16(BPF_CORE_READ(c, skc_dport));
	if (e->family == AF_INET6) {
		bpf_core_read(e->saddr, 16, &c->skc_v6_rcv_saddr);
		bpf_core_read(e->daddr, 16, &c->skc_v6_daddr);
	} else {
		bpf_core_read(e->saddr, 4, &c->skc_rcv_saddr);
		bpf_core_read(e->daddr, 4, &c->skc_daddr);
	}
}

// armed reports whether a socket's retransmission timer is. expire_timers detaches a timer before it calls it, so it is not while it fires.
static __always_inline int armed(void *sk)
{
	struct inet_connection_sock *icsk = sk;

	if (!bpf_core_field_exists(icsk->icsk_retransmit_timer)) // Linux 6.19 moves it to struct sock
		return 0;
	return BPF_CORE_READ(icsk, icsk_retransmit_timer.entry.pprev) != 0;
}

static __always_inline void timers(struct event *e, void *sk)
{
	struct inet_connection_sock *icsk = sk;
	struct tcp_sock *tp = sk;

	e->ca_state = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
	e->retransmits = BPF_CORE_READ(icsk, icsk_retransmits);
	e->pending = BPF_CORE_READ(icsk, icsk_pending);
	e->backoff = BPF_CORE_READ(icsk, icsk_backoff);
	e->rto = BPF_CORE_READ(icsk, icsk_rto);
	e->armed = armed(sk);
	e->cwnd = BPF_CORE_READ(tp, snd_cwnd);
	e->ssthresh = BPF_CORE_READ(tp, snd_ssthresh);
	e->packets_out = BPF_CORE_READ(tp, packets_out);
	e->retrans_out = BPF_CORE_READ(tp, retrans_out);
	e->lost_out = BPF_CORE_READ(tp, lost_out);
	e->sacked_out = BPF_CORE_READ(tp, sacked_out);
}

SEC("tp_btf/tcp_retransmit_skb")
int retransmit(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct sk_buff *skb = (void *)ctx[1];
	struct tcp_skb_cb *cb;
	int host = host_of(BPF_CORE_READ(sk, __sk_common.skc_net.net));
	struct event *e;

	if (host < 0 || !(e = begin(RETRANSMIT, host)))
		return 0;
	common(e, (void *)sk);
	timers(e, sk);
	cb = (void *)skb + bpf_core_field_offset(skb->cb);
	e->seq = BPF_CORE_READ(cb, seq);
	e->end_seq = BPF_CORE_READ(cb, end_seq);
	if (has_err)
		e->err = (__s32)ctx[2];
	end(e);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int synack(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct request_sock *req = (void *)ctx[1];
	struct tcp_request_sock *treq = (void *)ctx[1];
	int host = host_of(BPF_CORE_READ(sk, __sk_common.skc_net.net));
	struct event *e;

	if (host < 0 || !(e = begin(SYNACK, host)))
		return 0;
	common(e, (void *)req);
	e->seq = BPF_CORE_READ(treq, snt_isn);
	e->count = BPF_CORE_READ_BITFIELD_PROBED(req, num_timeout);
	// A Fast Open request is repeated by the timer of the socket that was made for it (tcp_fastopen_synack_timer), others by their own.
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == SYN_RECV)
		e->armed = armed(sk);
	else
		e->armed = BPF_CORE_READ(req, rsk_timer.entry.pprev) != 0;
	end(e);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int state(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int host = host_of(BPF_CORE_READ(sk, __sk_common.skc_net.net));
	struct event *e;

	if (host < 0 || BPF_CORE_READ(sk, sk_protocol) != PROTO_TCP || !(e = begin(STATE, host)))
		return 0;
	common(e, (void *)sk);
	timers(e, sk);
	e->old_state = ctx[1];
	e->state = ctx[2];
	end(e);
	return 0;
}

struct ip {
	__u8 version_ihl, tos;
	__be16 total;
	__u8 unused[5], protocol;
	__be16 check;
	__u8 saddr[4], daddr[4];
};

struct ip6 {
	__u8 unused[4];
	__be16 payload;
	__u8 next, hops;
	__u8 saddr[16], daddr[16];
};

struct tcp {
	__be16 sport, dport;
	__be32 seq, ack;
	__u8 offset, flags;
};

// packet fills in what the headers say. It reports whether this is a TCP packet.
static __always_inline int packet(struct event *e, struct sk_buff *skb)
{
	__u8 *net = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	__u16 protocol = __builtin_bswap16(BPF_CORE_READ(skb, protocol));
	__u32 header, data;
	struct tcp t;

	if (protocol == ETH_IP) {
		struct ip h;

		if (bpf_probe_read_kernel(&h, sizeof(h), net))
			return 0;
		e->family = AF_INET;
		e->protocol = h.protocol;
		__builtin_memcpy(e->saddr, h.saddr, 4);
		__builtin_memcpy(e->daddr, h.daddr, 4);
		header = (h.version_ihl & 15) * 4;
		data = __builtin_bswap16(h.total) - header;
	} else if (protocol == ETH_IPV6) {
		struct ip6 h;

		if (bpf_probe_read_kernel(&h, sizeof(h), net))
			return 0;
		e->family = AF_INET6;
		e->protocol = h.next;
		__builtin_memcpy(e->saddr, h.saddr, 16);
		__builtin_memcpy(e->daddr, h.daddr, 16);
		header = sizeof(h);
		data = __builtin_bswap16(h.payload);
	} else {
		return 0;
	}
	if (e->protocol != PROTO_TCP || bpf_probe_read_kernel(&t, sizeof(t), net + header))
		return 0;
	e->sport = __builtin_bswap16(t.sport);
	e->dport = __builtin_bswap16(t.dport);
	e->seq = __builtin_bswap32(t.seq);
	e->end_seq = __builtin_bswap32(t.ack);
	e->flags = t.flags;
	e->count = data - (t.offset >> 4) * 4;
	return 1;
}

// host_of_skb finds whose packet it is: its device's, its socket's, or that of the socket that received it. The device is gone once TCP has
// the packet (tcp_v4_rcv), and before Linux 6.11 so is every trace of the socket: 255 then, and the caller goes by the addresses.
static __always_inline int host_of_skb(struct sk_buff *skb, struct sock *rx)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct sock *sk = BPF_CORE_READ(skb, sk);

	if (dev)
		return host_of(BPF_CORE_READ(dev, nd_net.net));
	if (rx)
		return host_of(BPF_CORE_READ(rx, __sk_common.skc_net.net));
	if (sk)
		return host_of(BPF_CORE_READ(sk, __sk_common.skc_net.net));
	return 255;
}

SEC("tp_btf/kfree_skb")
int drop(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	__u64 location = ctx[1];
	struct sock *rx = has_rx_sk ? (void *)ctx[4] : 0;
	int host = host_of_skb(skb, rx);
	struct event *e;
	int tcp;

	if (host < 0 || !(e = begin(DROP, host)))
		return 0;
	tcp = packet(e, skb);
	if (host == 255) {
		struct address a;

		__builtin_memcpy(&a, e->saddr, sizeof(a));
		if (!tcp || !bpf_map_lookup_elem(&addresses, &a)) {
			bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
			return 0;
		}
	}
	e->reason = ctx[2];
	bpf_snprintf(e->where, sizeof(e->where), "%ps", &location, sizeof(location));
	end(e);
	return 0;
}

// The socket in which a timer lies, or the request; 0: it is none of TCP's.
static __always_inline struct sock_common *owner(void *timer, __u64 function, __u32 *which)
{
	if (function && function == write_timer && bpf_core_field_exists(((struct inet_connection_sock *)0)->icsk_retransmit_timer)) { // see armed
		*which = WRITE;
		return timer - bpf_core_field_offset(struct inet_connection_sock, icsk_retransmit_timer);
	}
	if (function && function == delack_timer) {
		*which = DELACK;
		return timer - bpf_core_field_offset(struct inet_connection_sock, icsk_delack_timer);
	}
	if (function && function == keepalive_timer) {
		*which = KEEPALIVE;
		return timer - bpf_core_field_offset(struct sock, sk_timer);
	}
	if (function && function == request_timer) {
		*which = REQUEST;
		return timer - bpf_core_field_offset(struct request_sock, rsk_timer);
	}
	if (function && function == timewait_timer) {
		*which = TIMEWAIT;
		return timer - bpf_core_field_offset(struct inet_timewait_sock, tw_timer);
	}
	return 0;
}

// The wheel hands its bucket along (expire_timers): it is the jiffy in which the timer was due, however late the softirq comes to it.
SEC("tp_btf/timer_expire_entry")
int expire(__u64 *ctx)
{
	struct timer_list *timer = (void *)ctx[0];
	__u32 which = 0;
	struct sock_common *c = owner(timer, (__u64)BPF_CORE_READ(timer, function), &which);
	struct event *e;
	int host;

	if (!c)
		return 0;
	host = host_of(BPF_CORE_READ(c, skc_net.net));
	if (host < 0 || !(e = begin(EXPIRE, host)))
		return 0;
	common(e, c);
	e->bucket = ctx[1];
	e->expires = BPF_CORE_READ(timer, expires);
	e->count = which;
	end(e);
	return 0;
}
