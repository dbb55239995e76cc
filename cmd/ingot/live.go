package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ingot/fault"
	"ingot/qemu-tests/assay"
	"ingot/qemu-tests/live"
	"ingot/qemu-tests/verdict"
)

// bootPatience is how long a new machine may take to answer in the tunnel: providers
// take minutes to start one, and under emulation a boot takes one more.
const bootPatience = 10 * time.Minute

// prove looks at a machine as its owner, from here.
func (c *console) prove(ctx context.Context, r ready, addresses []netip.Addr) (live.Proof, error) {
	o, err := r.look(addresses)
	if err != nil {
		return live.Proof{}, err
	}
	if o.RootHash, err = assay.RootHash(r.image.file); err != nil {
		return live.Proof{}, fault.Input(fmt.Errorf("%s: %w", r.image.file, err))
	}
	o.Progress = func(r verdict.Result) { c.line(r.Result != verdict.Passed, "%s: %s", r.Result, r.Title) }
	c.remark("waiting for %s to answer in the tunnel", o.Server)
	proof, err := live.Prove(ctx, o)
	c.endProgress()
	if err != nil {
		return proof, fault.Checks(fmt.Errorf("the machine at %s is not proven: %w; its console says what it has and lacks", o.Server, err))
	}
	failed := proof.Failed()
	for _, r := range failed {
		c.remark("%s: %s\n  %s", r.ID, r.Title, r.Problem)
	}
	if len(failed) > 0 {
		return proof, fault.Checks(fmt.Errorf("the machine at %s does not keep %d of %d promises", o.Server, len(failed), len(proof.Checks)))
	}
	c.remark("the machine answered after %.0f s, runs this image and passed %d checks; %d more need the simulated internet and were made on the image", proof.Ready, len(proof.Checks), len(proof.NotMade))
	for _, a := range proof.Unreached {
		c.remark("this computer has no way to %s, so that nobody has looked at that address from outside; scan its ports from one that has", a)
	}
	return proof, nil
}

// look is how to connect to a machine of a folder.
func (r ready) look(addresses []netip.Addr) (live.Options, error) {
	server, err := reachable(addresses)
	return live.Options{
		Plan: r.loaded.Plan, Client: r.owner.client, Server: server, Public: addresses, Inner: r.owner.inner, Auth: r.owner.auth, Patience: bootPatience,
	}, err
}

// reachable is the address to use: IPv4 where there is one, because every computer
// has it.
func reachable(addresses []netip.Addr) (netip.Addr, error) {
	var best netip.Addr
	for _, a := range addresses {
		if !best.IsValid() || a.Is4() && !best.Is4() {
			best = a
		}
	}
	if !best.IsValid() {
		return best, fault.Provider(errors.New("the provider gave the server no address"))
	}
	return best, nil
}
