// Command leak sends wherever it can, from its first moment on and for ever: TCP,
// UDP, ping, raw sockets and frames, over IPv4 and IPv6, and questions to every
// resolver that it can guess. Nothing of it may be seen where it is not allowed.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	name := flag.String("name", "leak.example", "which resolvers are asked for")
	flag.Parse()
	var all sync.WaitGroup
	for _, text := range flag.Args() {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		to := prefix.Addr().Next()
		for _, send := range []func(netip.Addr){tcp, udp, ping, raw, bound, frame} {
			all.Go(func() { forever(func() { send(to) }) })
		}
	}
	for _, resolver := range resolvers() {
		all.Go(func() { forever(func() { ask(resolver, *name) }) })
	}
	all.Wait()
}

// forever does something at a pace that leaves a slow machine its time.
func forever(do func()) {
	for {
		do()
		time.Sleep(pace)
	}
}

const pace = time.Second

const patience = 2 * time.Second

func tcp(to netip.Addr) {
	if conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, 443).String(), patience); err == nil {
		conn.Close()
	}
}

func udp(to netip.Addr) {
	if conn, err := net.Dial("udp", netip.AddrPortFrom(to, 4242).String()); err == nil {
		_, _ = conn.Write([]byte("leak"))
		conn.Close()
	}
}

// bound names the interface: that of the machine, should it be there.
func bound(to netip.Addr) {
	interfaces, _ := net.Interfaces()
	names := []string{"eth0", "ens3", "enp0s3", "enp0s2", "wg0", "lo"}
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	for _, name := range names {
		d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			if controlled := c.Control(func(fd uintptr) { err = syscall.BindToDevice(int(fd), name) }); controlled != nil {
				return controlled
			}
			return err
		}}
		if conn, err := d.Dial("udp", netip.AddrPortFrom(to, 4343).String()); err == nil {
			_, _ = conn.Write([]byte("leak"))
			conn.Close()
		}
	}
}

// ping uses the sockets that need no right.
func ping(to netip.Addr) {
	family, proto, echo := syscall.AF_INET, syscall.IPPROTO_ICMP, []byte{8, 0, 0, 0, 0, 1, 0, 1}
	if to.Is6() {
		family, proto, echo[0] = syscall.AF_INET6, syscall.IPPROTO_ICMPV6, 128
	}
	send(family, syscall.SOCK_DGRAM, proto, to, echo)
}

func raw(to netip.Addr) {
	family := syscall.AF_INET
	if to.Is6() {
		family = syscall.AF_INET6
	}
	send(family, syscall.SOCK_RAW, syscall.IPPROTO_UDP, to, []byte{16, 146, 16, 146, 0, 8, 0, 0})
}

func send(family, kind, proto int, to netip.Addr, data []byte) {
	fd, err := syscall.Socket(family, kind, proto)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	if to.Is6() {
		_ = syscall.Sendto(fd, data, 0, &syscall.SockaddrInet6{Addr: to.As16()})
		return
	}
	_ = syscall.Sendto(fd, data, 0, &syscall.SockaddrInet4{Addr: to.As4()})
}

// frame tries to put a frame on every interface there could be.
func frame(to netip.Addr) {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0x0300)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	for index := 1; index < 8; index++ {
		_ = syscall.Sendto(fd, append(make([]byte, 14), to.AsSlice()...), 0, &syscall.SockaddrLinklayer{Ifindex: index})
	}
}

// resolvers are those that machines, clouds and people use.
func resolvers() []string {
	list := []string{
		"127.0.0.1", "127.0.0.53", "127.0.0.54", "127.0.0.11", "::1", "1.1.1.1", "8.8.8.8", "9.9.9.9", "2606:4700:4700::1111", "2001:4860:4860::8888",
		"169.254.169.254", "169.254.1.1", "45.78.0.53", "2600:3c01::53", "10.8.0.1", "fd00:8::1", "203.0.113.1", "172.31.1.1", "10.0.0.1", "192.168.1.1",
		"10.88.0.1", "10.89.0.1", "224.0.0.251", "ff02::fb", "255.255.255.255", "239.255.255.250",
	}
	return list
}

func ask(resolver, name string) {
	question := []byte{1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // RFC 1035 §4.1
	for label := range strings.SplitSeq(name, ".") {
		question = append(append(question, byte(len(label))), label...)
	}
	question = append(question, 0, 0, 1, 0, 1)
	for _, port := range []string{"53", "5353", "853"} {
		for _, network := range []string{"udp", "tcp"} {
			conn, err := net.DialTimeout(network, net.JoinHostPort(resolver, port), patience)
			if err != nil {
				continue
			}
			_, _ = conn.Write(question)
			conn.Close()
		}
	}
}
