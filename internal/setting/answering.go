package setting

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
)

// fastOpen says bit by bit what tcp_fastopen lets a client and a server do.
func (c *context) fastOpen() error {
	n := c.number("tcp_fastopen", 0)
	client, server := n&0x1 != 0, n&0x2 != 0
	switch {
	case client && server:
		c.say("As a client this host may send data in the SYN, and as a server it may take data from a SYN.")
	case client:
		c.say("As a client this host may send data in the SYN; as a server it takes none.")
	case server:
		c.say("As a server this host may take data from a SYN; as a client it sends none: sendto(MSG_FASTOPEN) fails with EOPNOTSUPP.")
	default:
		c.say("Fast Open is off at both sides: sendto(MSG_FASTOPEN) fails with EOPNOTSUPP, and a SYN's data is not taken.")
	}
	if client && n&0x4 == 0 {
		c.say("The first connection to a server asks for a cookie and takes 2 round trips for an answer, as without Fast Open; later ones carry the request in the SYN and take 1.")
	}
	if n&0x4 != 0 {
		c.say("0x4: the client sends data without a cookie, so the first connection takes 1 round trip already, if the server agrees (0x200).")
		if !client {
			c.note("", "0x4 without 0x1 has no effect: the client's bit comes first.")
		}
	}
	if server && n&0x400 == 0 {
		c.say("A listener takes part only if it asks for it: setsockopt TCP_FASTOPEN with the length of its queue.")
	}
	if n&0x400 != 0 {
		c.say("0x400: every listener takes part, without asking for it.")
	}
	if n&0x200 != 0 {
		c.say("0x200: the server takes data without a cookie, so anyone who forges an address can make it work.")
	}
	if n&^0x7 != 0 && !server {
		c.note("", "0x200 and 0x400 have no effect without 0x2, the server's bit.")
	}
	c.note("", "A SYN with data that is lost is repeated after 1 s without data and without the option; the request then follows the handshake.")
	return nil
}

// recovery is how a lost segment is found while others arrive: tcp_sack and tcp_recovery.
func (c *context) recovery() error {
	sack := c.number("tcp_sack", 1) != 0
	if !sack {
		c.say("Neither end can say which later segments have arrived: the third duplicate ACK repeats the first missing segment, and each further loss costs a round trip (NewReno).")
		c.say("Tail loss probes need SACK: a lost last segment is repeated after the RTO only, %s on a local network.", seconds(c.localRTO()))
		return nil
	}
	if !c.since("4.4") {
		c.say("The receiver says which later segments have arrived: only lost ones are repeated, several in one round trip, after three duplicate ACKs.")
		return nil
	}
	n := c.number("tcp_recovery", 1)
	mandatory := c.since("6.17")
	switch {
	case n&1 != 0 || mandatory:
		window := fmt.Sprintf("a quarter of the smallest round trip: %s here", seconds(c.RTT/4))
		if n&2 != 0 {
			window += ", and never more"
		}
		c.say("RACK finds losses by time: a segment is lost when one that was sent later has arrived and the reordering window has passed, %s.", window)
	default:
		c.say("RACK is off: a segment counts as lost when three later ones have arrived (RFC 6675).")
	}
	if (n&1 != 0 || mandatory) && n&4 == 0 {
		c.say("With three later segments acknowledged it does not wait for the window.")
	}
	if n&4 != 0 {
		c.say("4: three duplicates do not count, only the time does.")
	}
	if n&1 == 0 && mandatory {
		c.note("", "Bit 1 has no effect since Linux 6.17 (not yet in 6.14): RACK is the only way there.")
	}
	if c.RTT <= localRTT {
		c.note("", "On a local network that window is far below the time between two packets: the first SACK repeats the segment, not the third.")
	}
	return nil
}

// localRTO is the first RTO at this round trip.
func (c *context) localRTO() time.Duration {
	return oracle.Jiffies(c.Facts, c.RTT+max(2*c.RTT, oracle.RTOMin))
}

// rateLimit is tcp_invalid_ratelimit.
func (c *context) rateLimit() error {
	given := time.Duration(c.number("tcp_invalid_ratelimit", 500)) * time.Millisecond
	kept := oracle.Jiffies(c.Facts, given)
	c.meaning.Nominal = kept
	if given == 0 {
		c.say("There is no limit: every repeated SYN and every invalid segment is answered.")
		return nil
	}
	c.say("Of repeated SYNs and other invalid segments of one connection, the first is answered at once and the next only %s after the last answer.", seconds(kept))
	c.say("A client repeats its SYN after 1 s at the soonest, so with %s each of its repeats is answered.", seconds(kept))
	if kept > time.Second {
		c.meaning.Says[1] = fmt.Sprintf("A client repeats its SYN after 1 s at the soonest, so %s leave repeats unanswered.", seconds(kept))
	}
	if kept != given {
		c.note("", "The kernel keeps it in jiffies of %v: %s becomes %s.", c.Facts.Jiffy(), seconds(given), seconds(kept))
	}
	return nil
}

// timestamps says what the option does to the first RTO after a loss in the handshake: tcp_ack_update_rtt, TCP_TIMEOUT_FALLBACK.
func (c *context) timestamps() error {
	const fallback = 3 * time.Second // TCP_TIMEOUT_FALLBACK
	if c.number("tcp_timestamps", 1) == 0 {
		c.say("SYNs carry no timestamps: after a handshake in which a packet was repeated there is no round trip to go by, and the first data waits %s for its first repeat.", seconds(fallback))
		c.say("Without a loss in the handshake nothing changes: %s on a local network.", seconds(c.localRTO()))
	} else {
		c.say("SYNs carry timestamps: the round trip is known even if a SYN was repeated, and the first data waits %s for its first repeat instead of %s.", seconds(c.localRTO()), seconds(fallback))
		c.say("A lost SYN-ACK is the exception: the repeated one echoes the first SYN, and the client takes the whole second for its round trip, so its RTO is about 3 s.")
	}
	c.note("", "A connection has them only if both ends offer them. They cost 12 bytes in every segment.")
	return nil
}
