module example.com/deadpeer

go 1.26.0

require github.com/tcplab/tcplab v0.0.0

require (
	github.com/cavaliergopher/cpio v1.0.1 // indirect
	github.com/coreos/go-iptables v0.8.0 // indirect
	github.com/gopacket/gopacket v1.7.7 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/safchain/ethtool v0.7.0 // indirect
	github.com/ulikunitz/xz v0.5.17 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/tcplab/tcplab => ../../..
