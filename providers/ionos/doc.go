// Package ionos runs servers at IONOS Cloud, with version 6 of its API.
//
// Nothing here was ever run against the live service. The tests hold requests and
// answers to the OpenAPI document that IONOS published (2023), with what its newer SDK
// knows beside it, and upload to a real FTPS server.
//
// # Images
//
// The API takes no images. They are uploaded by FTPS, with user name and password:
// the FTP server takes no token. Some minutes later the API lists them under the
// file's name, which is all that ties the two together. IONOS tells no digest of what
// it keeps, and a size in whole GB. So what is bound is this: the bytes were hashed
// while they were sent and gave the digest of the verdict, the transport was TLS with
// a verified certificate, the server counted as many bytes, and the name carries the
// digest. With [Options.ReadBack] the file is fetched again and hashed, if the server
// still has it.
//
// A name can be used once. An upload that was interrupted is gone on with where the
// server allows it, and begins under another name where it does not.
//
// Deleting an image by the API sets its size to nothing and keeps the entry; only the
// support removes it. Ingot takes such an image for gone.
//
// # The instance config
//
// IONOS has no metadata service. It writes user-data into a volume's root file system
// before the first boot, which cannot be done to a sealed one. So the instance config
// becomes a CD-ROM: an ISO 9660 image labelled cidata, uploaded like a disk.
//
// The config holds secrets, and this way leaves them at IONOS: whoever may attach
// images of the account can read it, and what is deleted there may be kept. The
// machine keeps its config on its own disk, so once it is proven [Provider.DropConfig]
// takes the CD-ROM out and deletes it, as far as the API can. Two ways are worse: the
// API shows the bodies of its requests to all of the account (GET /requests), which
// "userData" of a volume would be part of; and a disk image is as lasting as a CD-ROM
// and would be copied into a volume besides. One is better: a server with another
// system and "ingot install" over SSH, which leaves nothing with IONOS but the disk
// itself. Deploy without a config leaves out the CD-ROM; such a machine has no identity
// and answers no packet.
//
// # The state
//
// With [Options.State] a server is made with a second volume, for what outlives it, and
// that can move to another server. IONOS makes volumes empty or of an image, so there is
// an image of 64 MiB with an empty ext4 labelled ingot-var, which the machine grows. Its
// bytes are the same every time: it is uploaded once for a location, and stays, as only
// the support would really remove it. When it is whole, its description says of which
// digest it is ("ingot-state"); until then it goes with the entry that it was uploaded
// under.
//
// Servers start from the first volume (PRIMARY), never from the second (NONE).
//
// A move is an exchange, with both servers switched off, which IONOS does by cutting the
// power. A public address that was not reserved is lost by that, so the server that the
// state is taken from must have a reserved one ([Options.Reserve]). The volume that moves
// has the label "ingot-move" from before the first change until after the last; meanwhile
// neither server is found to be deleted, and the move can be gone on with or undone. Each
// volume keeps a label of the server that it was made for ("ingot-born"), by which one
// that was taken over is told.
//
// # The address
//
// Only a reserved one can move. The server that takes it has the label
// "ingot-took-address", from before the first change on, with the block and whose it was:
// when both have blocks, as they do when they were deployed the same way, the names do not
// tell which has moved. Its own block is at no server meanwhile, costs, and is given to it
// again when the other goes back. Labels of servers are not taken off again: the block
// becomes "none".
//
// # The firewall
//
// It belongs to a network card. Server, disk, card and all rules are made in one
// request, with the firewall active, so no packet comes before the rules. A rule
// without addresses is for IPv4 alone; each of Ingot's says its version.
//
// # What carries which mark
//
// The names of all that is made end with "-ingot-" and the number of the journal's
// entry, from the request on that makes it. Servers and volumes have labels, too, and
// images, which have none in this API, carry them in their description.
//
// A data center that Ingot made is found when nothing else is left in it.
package ionos
