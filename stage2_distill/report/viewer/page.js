// Blends the chosen layer over the image on a canvas; the viewer shows the canvas as a panorama of 360 degrees.
(() => {
  'use strict';
  const find = (id) => document.getElementById(id);
  const panoramas = JSON.parse(find('data').textContent);
  const canvas = find('flat');
  const context = canvas.getContext('2d');
  let pictures = {}; // of the present panorama, by layer
  let layer = 'student';
  let viewer = null;
  let asked = 0; // the newest choice; an older one that is still loading is dropped

  find('none').hidden = panoramas.length > 0;
  for (const id of ['controls', 'view', 'flat', 'legend']) find(id).hidden = panoramas.length === 0;
  if (panoramas.length === 0) return;

  const load = (source) => new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error('a layer cannot be shown'));
    picture.src = source;
  });

  const blend = () => {
    context.globalAlpha = 1;
    context.drawImage(pictures.image, 0, 0, canvas.width, canvas.height);
    if (layer !== 'image') {
      context.globalAlpha = find('strength').value / 100;
      context.drawImage(pictures[layer], 0, 0, canvas.width, canvas.height);
    }
    if (viewer) {
      viewer.setUpdate(true);
      requestAnimationFrame(() => requestAnimationFrame(() => viewer && viewer.setUpdate(false)));
    }
  };

  const choose = (layers, name) => {
    layer = name;
    find('caption').textContent = layers.find((each) => each.name === name).caption;
    find('strength').disabled = name === 'image';
    blend();
  };

  const offer = (layers) => {
    find('layers').replaceChildren(...layers.map((each) => {
      const label = document.createElement('label');
      const button = document.createElement('input');
      Object.assign(button, { type: 'radio', name: 'layer', value: each.name, checked: each.name === layer });
      button.addEventListener('change', () => choose(layers, each.name));
      label.append(button, ' ' + each.name);
      return label;
    }));
  };

  const show = async (panorama) => {
    const mine = ++asked;
    const loaded = await Promise.all(panorama.layers.map((each) => load(each.source)));
    if (mine !== asked) return;
    pictures = Object.fromEntries(panorama.layers.map((each, i) => [each.name, loaded[i]]));
    if (!(layer in pictures)) layer = panorama.layers[panorama.layers.length - 1].name;
    canvas.width = panorama.width;
    canvas.height = panorama.height;
    offer(panorama.layers);
    if (viewer) viewer.destroy();
    viewer = null;
    choose(panorama.layers, layer);
    try {
      viewer = pannellum.viewer('view', {
        type: 'equirectangular', panorama: canvas, dynamic: true, dynamicUpdate: true, autoLoad: true,
        haov: 360, vaov: Math.min(180, 360 * panorama.height / panorama.width), hfov: 90, showFullscreenCtrl: true,
      });
      viewer.on('load', blend);
    } catch (problem) {
      find('view').textContent = 'No view of 360 degrees: ' + problem.message; // the flat picture stays
    }
  };

  panoramas.forEach((each, i) => find('panorama').add(new Option(each.id, i)));
  find('panorama').addEventListener('change', (event) => show(panoramas[event.target.value]));
  find('strength').addEventListener('input', blend);
  show(panoramas[0]);
})();
