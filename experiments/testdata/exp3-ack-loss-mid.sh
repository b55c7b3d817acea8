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
ip netns exec server sysctl -w net.ipv4.tcp_synack_retries=1
ip netns exec client sysctl -w net.ipv4.tcp_retries2=3
ip netns exec client sysctl -w net.ipv4.tcp_rto_max_ms=120000
ip netns exec client sysctl -w net.ipv4.tcp_rto_min_us=200000
ip netns exec server python3 -c 'import socket; l = socket.socket(); l.bind(("10.99.0.2", 8080)); l.listen()
while c := l.accept()[0]:
    while b := c.recv(65536): c.sendall(b)
    c.close()' &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
ip netns exec server python3 -c 'import socket, time; a, _ = socket.create_server(("10.99.0.2", 8081)).accept(); a.send(a.recv(100)); time.sleep(86400)' &
sleep 1 # until it listens
ip netns exec client python3 -c 'import os, socket, time; s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000); s.connect(("10.99.0.2", 8081)); s.send(b"hello\n"); s.recv(100); os.system("ip netns exec server iptables -A INPUT -s 10.99.0.1 -j DROP"); time.sleep(3.5); s.send(b"123456"); s.recv(100)'
ip netns exec server iptables -vnL INPUT
kill %4
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
