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
ip netns exec server sysctl -w net.ipv4.tcp_pingpong_thresh=1
ip netns exec server python3 -c 'import socket; l = socket.socket(); l.bind(("10.99.0.2", 8080)); l.listen()
while c := l.accept()[0]:
    while b := c.recv(65536): c.sendall(b)
    c.close()' &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
ip netns exec server python3 -c 'import socket; c = socket.create_server(("10.99.0.2", 8090)).accept()[0]
while c.recv(200, socket.MSG_WAITALL): c.send(bytes(200))' &
sleep 1 # until it listens
ip netns exec client python3 -c 'import socket, time; s = socket.create_connection(("10.99.0.2", 8090))
for i in range(4): time.sleep(0.3); began = time.monotonic(); s.send(bytes(100)); s.send(bytes(100)); s.recv(200, socket.MSG_WAITALL); print("%.1f ms" % ((time.monotonic() - began) * 1000))'
ip netns exec server nstat -az TcpExtDelayedACKs
wait %4
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
