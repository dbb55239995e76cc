package assay

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// The tests that boot machines for minutes take turns: all of them take more than an
// hour, and a run of all tests should have half of one. Their parts take about as long
// as each other, eight minutes on two cores without KVM, and the commit picks one, so
// that CI comes to all of them and the same commit has the same tests.

var (
	thorough   = flag.Bool("thorough", false, "tests that take turns are all run")
	turnNumber = flag.Int("turn", -1, "the part of the tests that take turns which is run, from 0; the commit picks it when negative")
)

// turns are the parts. Each test names its own.
const turns = 6

// turn leaves a test to the runs whose part it is in.
func turn(t *testing.T, b built, part int) {
	t.Helper()
	if part < 0 || part >= turns {
		t.Fatalf("there is no part %d", part)
	}
	if now := whoseTurn(t, b); !*thorough && now != part {
		t.Skipf("it is the turn of part %d of the tests, this is in part %d; -turn %d runs it, make thorough all", now, part, part)
	}
}

func whoseTurn(t *testing.T, b built) int {
	t.Helper()
	if *turnNumber >= 0 {
		return *turnNumber % turns
	}
	return int(number(t, seed(b)) % turns)
}

// seed is what a run picks its samples by, a SHA-256 in hexadecimal digits: of the
// commit, where there is one, and of the image, so that either's change tries others.
func seed(b built) string {
	sum := sha256.Sum256([]byte(commit() + b.SHA256))
	return hex.EncodeToString(sum[:])
}

// number is one that the seed picks and no other sample uses.
func number(t *testing.T, seed string) uint64 {
	t.Helper()
	sum, err := hex.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint64(sum[len(sum)-8:])
}

// commit is what is checked out, empty outside a repository.
var commit = sync.OnceValue(func() string {
	out, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
})
