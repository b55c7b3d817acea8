ip netns add client && ip netns add server
ip link add eth0 netns client type veth peer name eth0 netns server
ip netns exec client sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.tcp_congestion_control=reno
ip netns exec client ip address add 10.99.0.1/24 dev eth0
ip netns exec client ip link set lo up
ip netns exec client ip link set eth0 up
ip netns exec client ethtool -K eth0 tso off gso off gro off tx off
ip netns exec server sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.tcp_congestion_control=reno
ip netns exec server ip address add 10.99.0.2/24 dev eth0
ip netns exec server ip link set lo up
ip netns exec server ip link set eth0 up
ip netns exec server ethtool -K eth0 tso off gso off gro off tx off
ip netns exec client sysctl -w net.ipv4.tcp_syn_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_syn_linear_timeouts=0
ip netns exec server sysctl -w net.ipv4.tcp_synack_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_time=2
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_intvl=1
ip netns exec client sysctl -w net.ipv4.tcp_keepalive_probes=2
ip netns exec client sysctl -w net.ipv4.tcp_retries2=2
ip netns exec client sysctl -w net.ipv4.tcp_orphan_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_rto_max_ms=120000
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8101 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8102 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8103 --tcp-flags ACK ACK -j DROP
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8110 --tcp-flags SYN,ACK ACK -m length --length 0:99 -j DROP
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8113 --tcp-flags FIN FIN -j DROP
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8114 --tcp-flags FIN FIN -j DROP
ip netns exec server python3 -c 'import select, socket
unread, listeners, talks, quiet = [8110, 8111, 8112], [], [], []
for port in [8101, 8102, 8103, 8104, 8105, 8106, 8107, 8108, 8109, 8110, 8111, 8112, 8113, 8114]:
    l = socket.socket(); listeners.append(l)
    if port in unread: l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1152)
    l.bind(("10.99.0.2", port)); l.listen()
while True:
    for s in select.select(listeners + talks, [], [])[0]:
        if s in listeners: (quiet if s.getsockname()[1] in unread else talks).append(s.accept()[0])
        elif b := s.recv(100): s.send(b)
        else: talks.remove(s)' &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
until ip netns exec server ss -Hltn | grep -q :8114; do sleep 0.1; done # until the server listens
ip netns exec server ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.2 initrwnd 1 advmss 512
cat > one.py <<'END'
import os, socket, sys, time
port, keep, user, then = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
s = socket.socket()
if user: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user)
if keep: s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
for option in sys.argv[5:]:
    name, value = option.split("=")
    s.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), int(value))
began = time.monotonic()
try:
    s.connect(("10.99.0.2", port))
    if then == "busy": s.send(b"hello\n"); s.recv(100)
    if then != "read": time.sleep(2); began = time.monotonic() # by then the peer is dead
    if then == "busy": s.send(b"123456")
    if then == "full": s.send(bytes(1000))
    if then == "shutdown": s.shutdown(socket.SHUT_WR)
    if then == "close": s.close(); sys.exit()
    s.recv(100)
except OSError as e: print("port", port, "is told after", round(time.monotonic() - began, 1), "s:", os.strerror(e.errno), flush=True)
END
ip netns exec client python3 one.py 8101 0 0 read & told="$told $!" # connecting
ip netns exec client python3 one.py 8102 0 2500 read & told="$told $!" # connecting, user timeout
ip netns exec client python3 one.py 8103 0 0 read & never="$never $!" # half-open, at the server
ip netns exec client python3 one.py 8104 0 0 read & never="$never $!" # idle
ip netns exec client python3 one.py 8105 1 0 read & told="$told $!" # idle, keepalive
ip netns exec client python3 one.py 8106 1 2500 read & told="$told $!" # idle, keepalive and user timeout
ip netns exec client python3 one.py 8107 0 0 busy & told="$told $!" # data in flight
ip netns exec client python3 one.py 8108 1 0 busy & told="$told $!" # data in flight, keepalive
ip netns exec client python3 one.py 8109 0 2500 busy & told="$told $!" # data in flight, user timeout
ip netns exec client python3 one.py 8110 0 0 full & told="$told $!" # window closed, peer dead
ip netns exec client python3 one.py 8111 0 0 full & never="$never $!" # window closed, peer not reading
ip netns exec client python3 one.py 8112 0 2500 full & told="$told $!" # window closed, peer not reading, user timeout
ip netns exec client python3 one.py 8113 0 0 shutdown & told="$told $!" # shut down
ip netns exec client python3 one.py 8114 0 0 close & told="$told $!" # closed
until [ $(ip netns exec client ss -Htn state established "dport >= :8104 and dport <= :8109" | wc -l) = 6 ]; do sleep 0.1; done # until they are connected
sleep 0.5; ip netns exec server iptables -A INPUT -p tcp --dport 8104:8109 -j DROP
wait $told # for those that are told: before Linux 5.11 this is without a closed window whose peer lives
ip netns exec client ss -tano # who is still there, and for what it waits
kill $never # those that nobody tells
ip netns exec server iptables -t filter -vnL INPUT
ip netns exec server iptables -t filter -vnL INPUT
ip netns exec server iptables -t filter -vnL INPUT
ip netns exec server iptables -t filter -vnL INPUT
ip netns exec server iptables -t filter -vnL INPUT
ip netns exec server iptables -t filter -vnL INPUT
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
