package experiments

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// IPv6Param is the parameter that every experiment has beside its own. def is the value where it is not given: "yes", or "" for IPv4.
func IPv6Param(def string) Param {
	return Param{Flag: "ipv6", Doc: "run over IPv6 instead of IPv4: yes or no", Kind: Choice, Choices: []string{"yes", "no"}, Default: def, Code: explain.IPv6}
}

// IPv6 reports whether the run is one over IPv6.
func (o Options) IPv6() bool { return o["ipv6"] == "yes" }

// Over returns the setup for the family that the options ask for.
func (s Setup) Over(o Options) Setup {
	s.IPv6 = o.IPv6()
	for i := range s.Faults {
		s.Faults[i].Rule.IPv6 = s.IPv6
	}
	return s
}

// overBoth makes an experiment one that runs over either family.
func (x *Experiment) overBoth() {
	x.Params = append(x.Params, IPv6Param(""))
	setup, checks := x.Setup, x.Checks
	x.Setup = func(o Options) Setup { return setup(o).Over(o) }
	x.Checks = func(e Env, r *result.Result) []result.Check {
		var out []result.Check
		if checks != nil {
			out = checks(e, r)
		}
		return append(out, MSSChecks(x.Setup(e.Options), r)...)
	}
}

// MSSChecks judge what each SYN and SYN-ACK of a run over IPv6 says of the largest segment, where the experiment leaves it to the kernel: it
// shows that the prediction knows which header the segments have.
func MSSChecks(s Setup, r *result.Result) []result.Check {
	if !s.IPv6 {
		return nil
	}
	var out []result.Check
	for _, h := range []struct{ host, name string }{{"client", "MSS in the SYN"}, {"server", "MSS in the SYN-ACK"}} {
		if s.OwnMSS == h.host {
			continue
		}
		want := oracle.MSS(true)
		c := result.Check{ID: "mss-" + h.host, Name: h.name, Expected: strconv.Itoa(want), Verdict: result.Pass}
		for _, p := range r.Packets {
			if p.From != h.host || !strings.Contains(p.Flags, "SYN") {
				continue
			}
			if c.Observed == "" || p.MSS != want {
				c.Observed = strconv.Itoa(p.MSS)
			}
			if p.MSS != want {
				c.Verdict, c.Code, c.Detail = result.Fail, explain.IPv6, "1500 bytes of the link less 40 of the IPv6 header and 20 of TCP's are 1440"
				break
			}
		}
		if c.Observed != "" { // no capture saw one
			out = append(out, c)
		}
	}
	return out
}

// byHand writes a person's commands for one family.
type byHand struct {
	client, server netip.Prefix
	iptables       string
	socket         string // a socket, in Python
	ipv6           bool
}

func (p Plan) byHand() byHand {
	h := byHand{iptables: "iptables", socket: "socket.socket()", ipv6: p.Options.IPv6()}
	if h.ipv6 {
		h.iptables, h.socket = "ip6tables", "socket.socket(socket.AF_INET6)"
	}
	h.client, h.server = lab.Addresses(h.ipv6)
	return h
}

// url is a page of the server's.
func (h byHand) url(port uint16) string {
	return fmt.Sprintf("http://%s/", netip.AddrPortFrom(h.server.Addr(), port))
}

// listener is a listening socket of the server's, in Python.
func (h byHand) listener(port uint16) string {
	if h.ipv6 {
		return fmt.Sprintf(`socket.create_server(("%s", %d), family=socket.AF_INET6)`, h.server.Addr(), port)
	}
	return fmt.Sprintf(`socket.create_server(("%s", %d))`, h.server.Addr(), port)
}

// route changes the route of the network of an end; more attributes follow.
func (h byHand) route(end netip.Prefix) string { return RouteChange(end) }

// RouteChange is the command of a person's that changes the route of the network of an end of a lab; more attributes follow.
func RouteChange(end netip.Prefix) string {
	if end.Addr().Is6() {
		return fmt.Sprintf("ip -6 route change %s dev %s proto kernel metric 256", end.Masked(), lab.Iface)
	}
	return fmt.Sprintf("ip route change %s dev %s proto kernel scope link src %s", end.Masked(), lab.Iface, end.Addr())
}

// length is a length of an IP packet as lab.Rule has it, for the match of that name.
func (h byHand) length(n int) int {
	if h.ipv6 {
		return n + 20
	}
	return n
}

// neighbours are the commands that make the permanent neighbours of IPv6: a rule that drops all of a host drops its neighbour discovery too, as
// iptables does not drop ARP.
func (h byHand) neighbours() []string {
	if !h.ipv6 {
		return nil
	}
	var out []string
	for _, x := range []struct {
		host, peer string
		addr       netip.Addr
	}{{"client", "server", h.server.Addr()}, {"server", "client", h.client.Addr()}} {
		out = append(out, fmt.Sprintf("ip -n %s neighbour replace %s lladdr $(ip netns exec %s cat /sys/class/net/%s/address) dev %s nud permanent",
			x.host, x.addr, x.peer, lab.Iface, lab.Iface))
	}
	return out
}
