package hetzner

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// bootMock starts a machine that does what writer's command does, whatever it is told,
// unless that makes a file system.
func (b *lab) bootMock(id int64, address, private string, keys []string) (end func()) {
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		b.t.Errorf("the host key of the user-data: %v", err)
		return func() {}
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
		for _, allowed := range keys {
			if line == allowed {
				return nil, nil
			}
		}
		return nil, fmt.Errorf("not let in")
	}}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(b.port)))
	if err != nil {
		b.t.Error(err)
		return func() {}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(id, conn, config)
		}
	}()
	return func() { l.Close() }
}

func (b *lab) serve(id int64, conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			_ = r.Reply(r.Type == "exec", nil)
			if r.Type != "exec" {
				continue
			}
			if label, volume, ok := formats(r.Payload); ok {
				status := byte(0)
				if b.broken {
					_, _ = channel.Stderr().Write([]byte("mke2fs: it is said\n"))
					status = 1
				} else if os.WriteFile(b.file(volume, "label"), []byte(label), 0o600) != nil {
					status = 1
				}
				_, _ = channel.SendRequest("exit-status", false, []byte{0, 0, 0, status})
				channel.Close()
				continue
			}
			data, err := io.ReadAll(channel)
			if err != nil {
				return
			}
			if os.WriteFile(b.file(id, "disk"), data, 0o600) != nil {
				return // the test is over
			}
			_, _ = io.Copy(channel, bytes.NewBufferString(fmt.Sprintf("%x  -\n", sha256.Sum256(data))))
			_ = os.WriteFile(b.file(id, "off"), nil, 0o600)
			_, _ = channel.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
			channel.Close()
		}
	}
}

// formatting is the command that makes a file system: its label and the volume's number.
var formatting = regexp.MustCompile(`mke2fs -q -t ext4 -L (\S+) -E nodiscard /dev/disk/by-id/scsi-0HC_Volume_(\d+) `)

func formats(command []byte) (label string, volume int64, ok bool) {
	m := formatting.FindSubmatch(command)
	if m == nil {
		return "", 0, false
	}
	volume, err := strconv.ParseInt(string(m[2]), 10, 64)
	return string(m[1]), volume, err == nil
}
