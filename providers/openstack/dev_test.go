package openstack

import (
	"os"
	"testing"
	"time"
)

func TestDevCloud(t *testing.T) {
	if os.Getenv("DEVCLOUD") == "" {
		t.Skip("dev")
	}
	c := needCloud(t)
	os.WriteFile("/tmp/os/dev.dir", []byte(c.dir), 0o600)
	os.WriteFile("/tmp/os/dev.pid", []byte(itoa(os.Getpid())), 0o600)
	for {
		time.Sleep(time.Hour)
	}
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

func init() {
	if dir := os.Getenv("DEVDIR"); dir != "" {
		running.dir = dir
		running.once.Do(func() {})
	}
}
