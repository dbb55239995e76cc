package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"ingot/clients"
	"ingot/fault"
)

func clientCommand(c *console) *cobra.Command {
	client := &cobra.Command{
		Use:   "client",
		Short: "Add, list and remove the clients of the tunnel",
		Long: `Add, list and remove the WireGuard peers of a folder's ingot.yaml. The file gets
their public keys; a client's config, with its private key, goes to
secrets/clients. The image stays the same: only the instance config changes.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknown(cmd, args[0])
		},
	}
	client.AddCommand(clientAddCommand(c), clientListCommand(c), clientRemoveCommand(c))
	return client
}

func clientAddCommand(c *console) *cobra.Command {
	var o clients.Options
	var qr bool
	cmd := &cobra.Command{
		Use:   "add NAME [DIR]",
		Short: "Make a client's keys and config, and let it in",
		Example: `  ingot client add phone --endpoint claw.example.com --qr
  ingot client add laptop --age age1…`,
		Args: nameAndFolder,
		RunE: func(_ *cobra.Command, args []string) error {
			if qr && c.json {
				return fault.Input(errors.New("--qr shows the private key to a camera and --json writes one document; leave one out"))
			}
			o.Name = args[0]
			return c.addClient(folderOf(args[1:]), o, qr)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Endpoint, "endpoint", "", "the server's public name or address, by default endpoint of layers.wireguard")
	flags.BoolVar(&o.Full, "full", false, "send all of the client's traffic through the tunnel, not only what is for the server")
	flags.BoolVar(&o.PresharedKey, "preshared-key", false, "mix a key that only the two know into their handshakes")
	flags.StringArrayVar(&o.Age, "age", nil, "encrypt the config to this recipient: age1… or a line of an SSH .pub file")
	flags.BoolVar(&qr, "qr", false, "show the config, with its private key, as a QR code")
	return cmd
}

// nameAndFolder takes NAME and the optional DIR.
func nameAndFolder(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fault.Input(fmt.Errorf("name the client; %s --help has examples", cmd.CommandPath()))
	}
	return folder(cmd, args[1:])
}

func (c *console) addClient(dir string, o clients.Options, qr bool) error {
	added, err := clients.Add(dir, o)
	if err != nil {
		return mistakes(err)
	}
	for _, r := range added.Remarks {
		c.remark("%s", r)
	}
	c.remark("%s is a peer now. Take %s to the device and delete it here;", added.Name, added.File)
	c.remark("\"ingot build\" writes the new instance config for the server. The image stays the same.")
	if c.json {
		return c.document(added)
	}
	if err := c.write(fmt.Appendf(nil, "%s  %s\n", added.File, strings.Join(added.Addresses, ", "))); err != nil || !qr {
		return err
	}
	var code strings.Builder
	qrterminal.GenerateHalfBlock(added.Config, qrterminal.L, &code)
	return c.write([]byte(code.String()))
}

func clientListCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:               "list [DIR]",
		Short:             "Show the clients that the server lets in",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(_ *cobra.Command, args []string) error {
			list, err := clients.List(folderOf(args))
			if err != nil {
				return mistakes(err)
			}
			if c.json {
				return c.document(list)
			}
			var s strings.Builder
			for _, p := range list {
				fmt.Fprintf(&s, "%s  %s  %s", p.Name, strings.Join(p.Addresses, ", "), p.PublicKey)
				if p.File != "" {
					fmt.Fprintf(&s, "  %s", p.File)
				}
				s.WriteString("\n")
			}
			return c.write([]byte(s.String()))
		},
	}
}

func clientRemoveCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME [DIR]",
		Aliases: []string{"rm"},
		Short:   "Shut a client out",
		Args:    nameAndFolder,
		RunE: func(_ *cobra.Command, args []string) error {
			removed, err := clients.Remove(folderOf(args[1:]), args[0])
			if err != nil {
				return mistakes(err)
			}
			c.remark("The server lets %s in until it gets its new instance config: run \"ingot build\" and apply it. The image stays the same.", removed.Name)
			if c.json {
				return c.document(removed)
			}
			return c.write(fmt.Appendf(nil, "removed %s  %s\n", removed.Name, strings.Join(removed.Addresses, ", ")))
		},
	}
}

// mistakes shows what is wrong in ingot.yaml as every verb does.
func mistakes(err error) error {
	var found clients.Findings
	if errors.As(err, &found) {
		return fault.Input(findings(found))
	}
	return err
}
