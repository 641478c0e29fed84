// The room a number is called in: one per number, with exactly two members.

import { EventType, Preset, RoomMemberEvent, Visibility } from "matrix-js-sdk";

/** How long the virtual user of a number may take to join, in ms. */
const JOIN_PATIENCE = 20_000;

/**
 * The room to call `theirId` in: the one used before, else a new one, made as Element
 * makes it. Resolves once the other side has joined, since a call event sent earlier
 * would not reach it.
 */
export async function roomWith(client, theirId) {
    const known = knownRoom(client, theirId);
    const roomId = known ?? (await newRoom(client, theirId));
    await joined(client, roomId, theirId);
    return roomId;
}

function knownRoom(client, theirId) {
    const direct = client.getAccountData(EventType.Direct)?.getContent()[theirId] ?? [];
    const marked = direct.map((id) => client.getRoom(id)).filter((room) => room !== null);
    // A room that the other side made is not marked as direct here: look at members too.
    return [...marked, ...client.getRooms()].find((room) => isOurs(room, theirId))?.roomId;
}

function isOurs(room, theirId) {
    const here = room.getMembers().filter((m) => ["join", "invite"].includes(m.membership));
    // Space and history are shared with the service account too, and nobody talks in them.
    const isForTalk = !room.isSpaceRoom() && room.maySendMessage();
    return (
        isForTalk &&
        room.getMyMembership() === "join" &&
        here.length === 2 &&
        here.some((member) => member.userId === theirId)
    );
}

async function newRoom(client, theirId) {
    const { room_id: roomId } = await client.createRoom({
        preset: Preset.TrustedPrivateChat,
        visibility: Visibility.Private,
        is_direct: true,
        invite: [theirId],
    });
    const direct = client.getAccountData(EventType.Direct)?.getContent() ?? {};
    const rooms = [...(direct[theirId] ?? []), roomId];
    await client.setAccountData(EventType.Direct, { ...direct, [theirId]: rooms });
    return roomId;
}

function joined(client, roomId, theirId) {
    const isThere = () =>
        client.getRoom(roomId)?.getMember(theirId)?.membership === "join";
    return new Promise((resolve, reject) => {
        const finish = (settle) => {
            clearTimeout(patience);
            client.off(RoomMemberEvent.Membership, check);
            settle();
        };
        const check = () => {
            if (isThere()) finish(resolve);
        };
        const giveUp = () => finish(() => reject(new Error("nobody_joined")));
        const patience = setTimeout(giveUp, JOIN_PATIENCE);
        client.on(RoomMemberEvent.Membership, check);
        check();
    });
}
