package attest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"ingot/qemu-tests/verdict"
)

// What is decoded is exactly what would be written, whoever signed it.
func FuzzDecode(f *testing.F) {
	for _, v := range []verdict.Verdict{good(), with(), with(verdict.Result{ID: "a.b", Result: verdict.Failed})} {
		b, err := Sign(v, "image.raw", keyOf('k'))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"","signatures":[{"keyid":"","sig":""}]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Decode(data)
		if err != nil {
			return
		}
		if again, err := written(a.envelope); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q is taken for %q, %v", data, again, err)
		}
	})
}

// A statement never says that an image passed when the verdict in it does not.
func FuzzStatement(f *testing.F) {
	for _, v := range []verdict.Verdict{good(), with(), with(verdict.Result{ID: "a.b", Result: verdict.Failed, Class: verdict.Flake})} {
		s, err := statementOf(v, "image.raw")
		if err != nil {
			f.Fatal(err)
		}
		b, err := s.bytes()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		v, image, err := parseStatement(payload)
		if err != nil {
			return
		}
		b, err := Sign(v, image, keyOf('k'))
		if err != nil {
			t.Fatalf("%q is read and cannot be signed: %v", payload, err)
		}
		if _, err := Decode(b); err != nil {
			t.Errorf("%q is read, and not when it is signed again: %v", payload, err)
		}
		for _, c := range v.Checks {
			if v.Verdict == verdict.Passed && c.Result != verdict.Passed {
				t.Errorf("a pass with a check that is %q", c.Result)
			}
		}
		if v.Verdict == verdict.Passed && (len(v.Skipped) > 0 || len(v.Checks) == 0 || v.Error != "") {
			t.Errorf("a pass of %+v", v)
		}
	})
}

// Keys are refused or whole.
func FuzzKeys(f *testing.F) {
	der, err := x509.MarshalPKCS8PrivateKey(keyOf('k').private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}))
	f.Add(publicPEM(keyOf('k').Public()))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := parsePrivate(text); err == nil {
			if _, err := Sign(good(), "image.raw", Key{private: key}); err != nil {
				t.Errorf("%q is a key that cannot sign: %v", text, err)
			}
		}
		if key, err := ParsePublic(text); err == nil {
			if again, err := ParsePublic(publicPEM(key)); err != nil || !again.Equal(key) {
				t.Errorf("%q is read as %x and then as %x, %v", text, key, again, err)
			}
		}
	})
}
